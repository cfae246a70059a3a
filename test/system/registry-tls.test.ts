/** Registries behind TLS: who is trusted, who we are, and what is said when the two do not fit. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { Registry } from '../../src/core/registry/registry.ts';
import { buildImage, publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { makeCertificates } from '../support/certificates.ts';

const { signal } = new AbortController();
const image = buildImage([{ a: 'a' }]);

void describe('registries behind TLS', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-tls-'));
    await makeCertificates(dir);
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const pem = (name: string): Promise<string> => readFile(join(dir, name), 'utf8');

  /** Resolves an image of `remote` with this hosts.toml; `CA` and the like stand for paths. */
  async function resolve(remote: TestRegistry, hostsToml: string | undefined): Promise<string> {
    const root = await mkdtemp(join(dir, 'hosts-'));
    if (hostsToml !== undefined) {
      await mkdir(join(root, remote.host));
      await writeFile(join(root, remote.host, 'hosts.toml'), hostsToml.replaceAll('DIR', dir));
    }
    await using registry = new Registry(
      { log: silentLogger },
      { hostsRoots: [root], http: { userAgent: 'test' }, retry: { attempts: 1 } },
    );
    const { client } = await registry.open({
      reference: `${remote.host}/a:1`,
      ...(hostsToml === undefined && { defaultScheme: 'https' }),
    });
    return (await client.resolve({ signal })).digest;
  }

  async function serve(name: string, clientCa?: string): Promise<TestRegistry> {
    const remote = await TestRegistry.start({
      tls: {
        cert: await pem(`${name}.crt`),
        key: await pem(`${name}.key`),
        ...(clientCa !== undefined && { clientCa: await pem(clientCa) }),
      },
    });
    publish(remote.storage, 'a', '1', image);
    return remote;
  }

  const unavailable = (reason: RegExp) => (error: unknown) =>
    hasCode(error, 'Unavailable') && reason.test((error as Error).message);

  void it('an authority of hosts.toml is trusted', async () => {
    await using remote = await serve('server');
    assert.equal(await resolve(remote, 'ca = "DIR/ca.crt"'), image.descriptor.digest);
  });
  void it('an unknown authority is refused, with what to do', async () => {
    await using remote = await serve('server');
    await assert.rejects(
      resolve(remote, undefined),
      unavailable(/not trusted: add it as `ca` in hosts\.toml/),
    );
  });
  void it('a certificate for another name is refused, unless nothing is to be verified', async () => {
    await using remote = await serve('stranger');
    await assert.rejects(resolve(remote, 'ca = "DIR/ca.crt"'), unavailable(/for another host name/));
    assert.equal(await resolve(remote, 'skip_verify = true'), image.descriptor.digest);
  });
  void it('a client certificate is shown where it is demanded', async () => {
    await using remote = await serve('server', 'ca.crt');
    await assert.rejects(resolve(remote, 'ca = "DIR/ca.crt"'), (error) => hasCode(error, 'Unavailable'));
    const withClient = 'ca = "DIR/ca.crt"\nclient = [["DIR/client.crt", "DIR/client.key"]]';
    assert.equal(await resolve(remote, withClient), image.descriptor.digest);
  });
  void it('localhost with certificates but without TLS is asked in plain', async () => {
    await using remote = await TestRegistry.start();
    publish(remote.storage, 'a', '1', image);
    assert.equal(await resolve(remote, 'ca = "DIR/ca.crt"'), image.descriptor.digest);
  });
  void it('a server without TLS is told apart from one that is not there', async () => {
    await using remote = await TestRegistry.start();
    await assert.rejects(resolve(remote, undefined), unavailable(/may want plain http/));
  });
});
