/** Certificates for tests of TLS, by openssl. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './run.ts';

/**
 * An authority and what it signs, made anew: no key lies in the repository. `ca`, `server` (127.0.0.1 and localhost), `client` and
 * `stranger` (another host), each `.crt` and `.key` in PEM.
 */
export async function makeCertificates(dir: string): Promise<void> {
  const openssl = (...args: string[]): Promise<string> => run('openssl', args, { cwd: dir });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=Test authority',
    '-days',
    '2',
  );
  for (const [name, extension] of [
    ['server', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
    ['client', 'extendedKeyUsage=clientAuth'],
    ['stranger', 'subjectAltName=DNS:other.example'],
  ] as const) {
    await writeFile(join(dir, `${name}.ext`), extension);
    await openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    await openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'],
      ...['-out', `${name}.crt`, '-days', '2', '-extfile', `${name}.ext`],
    );
  }
}
