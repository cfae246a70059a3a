/** gRPC over TCP with TLS: who is let in. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { credentials, Client as GrpcClient, status } from '@grpc/grpc-js';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { makeCertificates } from '../support/certificates.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { freePort } from '../support/registry.ts';

const skip = needsRoot('the daemon mounts');

/** The number of the status that Version answers; 0 is success. */
function version(port: number, creds: ReturnType<typeof credentials.createInsecure>): Promise<number> {
  const client = new GrpcClient(`localhost:${port}`, creds);
  const same = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 10_000 };
    const path = '/containerd.services.version.v1.Version/Version';
    client.makeUnaryRequest(path, same, same, Buffer.alloc(0), options, (error, answer) => {
      client.close();
      resolve(error === null ? (answer?.byteLength ? status.OK : status.DATA_LOSS) : error.code);
    });
  });
}

describe('gRPC over TCP, as root', { skip, concurrency: 1 }, () => {
  let dir: string;
  let pem: (name: string) => Promise<Buffer>;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-tcp-'));
    await makeCertificates(dir);
    pem = (name) => readFile(join(dir, name));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const start = async (settings: string): Promise<{ daemon: Daemon; port: number }> => {
    const port = await freePort();
    const daemon = await startGantry({ config: `[grpc]\ntcp_address = "127.0.0.1:${port}"\n${settings}` });
    return { daemon, port };
  };
  const serverTls = (): string =>
    `tcp_tls_cert = "${dir}/server.crt"\ntcp_tls_key = "${dir}/server.key"\ntcp_tls_ca = "${dir}/ca.crt"\n`;

  test('behind TLS only clients with a certificate of the authority are served', async () => {
    const { daemon, port } = await start(serverTls());
    await using _daemon = daemon;
    const ca = await pem('ca.crt');
    const known = credentials.createSsl(ca, await pem('client.key'), await pem('client.crt'));
    assert.equal(await version(port, known), status.OK);
    assert.equal(await version(port, credentials.createSsl(ca)), status.UNAVAILABLE);
    assert.equal(await version(port, credentials.createInsecure()), status.UNAVAILABLE);
    // Others' attempts did not hurt it.
    assert.equal(await version(port, known), status.OK);
    assert.doesNotMatch(await daemon.log(), /open to everybody/);
  });

  test('a common name lets in one of them', async () => {
    const { daemon, port } = await start(`${serverTls()}tcp_tls_common_name = "client"\n`);
    await using _daemon = daemon;
    const ca = await pem('ca.crt');
    const as = async (name: string) =>
      version(port, credentials.createSsl(ca, await pem(`${name}.key`), await pem(`${name}.crt`)));
    assert.deepEqual([await as('client'), await as('stranger')], [status.OK, status.UNAVAILABLE]);
  });

  test('without TLS it serves whoever comes, and says so', async () => {
    const { daemon, port } = await start('');
    await using _daemon = daemon;
    assert.equal(await version(port, credentials.createInsecure()), status.OK);
    assert.match(await daemon.log(), /open to everybody/);
  });

  test('certificates that are none are told, and the socket serves', async () => {
    const { daemon, port } = await start(
      `tcp_tls_cert = "${dir}/server.key"\ntcp_tls_key = "${dir}/server.key"\n`,
    );
    await using _daemon = daemon;
    assert.match(await daemon.log(), /plugin failed.*grpc-tcp.*certificate or key/);
    assert.equal(await version(port, credentials.createInsecure()), status.UNAVAILABLE);
  });
});
