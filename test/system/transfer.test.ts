/** Images moved by unmodified ctr through our transfer service, over Debian's registry and over one that wants a login. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { digestOf } from '../../src/base/digest.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { Registry as RegistryClients } from '../../src/core/registry/registry.ts';
import { buildImage, publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { run } from '../support/run.ts';

void describe('images by ctr', () => {
  let daemon: Daemon;
  let registry: Registry;
  let dir: string;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-transfer-'));
    registry = await startRegistry(['busybox']);
    daemon = await startGantry();
  });
  after(async () => {
    await daemon[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  void it('pull leaves a complete, unpacked image and nothing else', async () => {
    const image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
    assert.match(await daemon.ctr('images', 'check'), new RegExp(`${image}.*complete .* true`));
    assert.doesNotMatch(await daemon.ctr('leases', 'ls', '-q'), /\S/);
    assert.equal((await daemon.ctr('content', 'active')).trim().split('\n').length, 1);
    assert.doesNotMatch(await daemon.ctr('snapshots', 'ls'), /Active/);
  });

  void it('what is pushed is what was pulled, as skopeo sees it', async () => {
    const image = registry.reference('busybox');
    const copy = `${registry.host}/copy/busybox:new`;
    await daemon.ctr('images', 'push', '--plain-http', copy, image);
    const raw = (reference: string): Promise<string> =>
      run('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${reference}`]);
    assert.equal(await raw(copy), await raw(image));
    await run('skopeo', [
      'copy',
      '-q',
      '--src-tls-verify=false',
      `docker://${copy}`,
      `dir:${join(dir, 'copy')}`,
    ]);
  });

  void it('an export is read by skopeo and comes in again after the image is gone', async () => {
    const image = registry.reference('busybox');
    const archive = join(dir, 'image.tar');
    await daemon.ctr('images', 'export', archive, image);
    await run('skopeo', ['inspect', `oci-archive:${archive}`]);
    await run('skopeo', ['inspect', `docker-archive:${archive}`]);
    await daemon.ctr('images', 'rm', '--sync', image);
    assert.doesNotMatch(await daemon.ctr('content', 'ls', '-q'), /\S/);
    await daemon.ctr('images', 'import', archive);
    assert.match(await daemon.ctr('images', 'check'), new RegExp(`${image}.*complete .* true`));
  });

  void it('an archive of docker save comes in', async () => {
    const archive = join(dir, 'docker.tar');
    await run('skopeo', [
      'copy',
      '-q',
      '--src-tls-verify=false',
      `docker://${registry.reference('busybox')}`,
      `docker-archive:${archive}:from/docker:1`,
    ]);
    await daemon.ctr('images', 'import', archive);
    assert.match(await daemon.ctr('images', 'check'), /docker\.io\/from\/docker:1.*complete .* true/);
  });

  void it('a second name for an image', async () => {
    await daemon.ctr('images', 'tag', 'docker.io/from/docker:1', 'second:1');
    assert.match(await daemon.ctr('images', 'ls', '-q'), /^second:1$/m);
  });

  void it('credentials are asked from ctr when the registry wants them', async () => {
    const image = buildImage([{ 'etc/x': 'x' }]);
    await using guarded = await TestRegistry.start({
      auth: { kind: 'bearer', username: 'u', password: 'p' },
      redirectBlobs: true,
    });
    publish(guarded.storage, 'private/image', '1', image);
    const reference = `${guarded.host}/private/image:1`;
    const wrong = await daemon.ctr.attempt([
      'images',
      'pull',
      '--plain-http',
      '--user',
      'u:wrong',
      reference,
    ]);
    assert.notEqual(wrong.status, 0);
    assert.match(wrong.stderr + wrong.stdout, /check user and password/);
    await daemon.ctr('images', 'pull', '--plain-http', '--user', 'u:p', reference);
    assert.match(await daemon.ctr('images', 'ls', '-q'), new RegExp(reference));
    assert.doesNotMatch(await daemon.log(), /u:p|dTpw/);
  });

  void it('content that is not what its digest says is refused, and nothing of it stays', async () => {
    const image = buildImage([{ 'etc/y': 'y' }]);
    await using liar = await TestRegistry.start();
    publish(liar.storage, 'a', '1', image);
    const { digest } = image.layers[0]!.descriptor;
    liar.faults.add({ path: digest, times: 99, effect: { kind: 'corrupt' } });
    const outcome = await daemon.ctr.attempt(['images', 'pull', '--plain-http', `${liar.host}/a:1`]);
    assert.notEqual(outcome.status, 0);
    assert.match(outcome.stderr + outcome.stdout, /failed precondition/);
    assert.doesNotMatch(await daemon.ctr('images', 'ls', '-q'), new RegExp(liar.host));
    assert.doesNotMatch(await daemon.ctr('content', 'ls', '-q'), new RegExp(digest));
  });
});

void describe("our client and Debian's registry", () => {
  void it('resolve, fetch from an offset, push, and mount from another repository', async () => {
    await using registry = await startRegistry(['busybox']);
    await using clients = new RegistryClients(
      { log: silentLogger },
      { hostsRoots: [], http: { userAgent: 'test' } },
    );
    const { signal } = new AbortController();
    const { client } = await clients.open({ reference: registry.reference('busybox') });
    const target = await client.resolve({ signal });
    const read = async (offset: number): Promise<Buffer> => {
      await using content = await client.fetch(target, { offset, signal });
      return Buffer.concat(await Array.fromAsync(content.body));
    };
    const manifest = await read(0);
    assert.equal(manifest.byteLength, target.sizeBytes);
    const { layers } = JSON.parse(manifest.toString()) as {
      layers: { mediaType: string; digest: typeof target.digest; size: number }[];
    };
    const [first] = layers;
    assert.ok(first !== undefined);
    const layer = { mediaType: first.mediaType, digest: first.digest, sizeBytes: first.size };
    await using whole = await client.fetch(layer, { signal });
    const bytes = Buffer.concat(await Array.fromAsync(whole.body));
    await using rest = await client.fetch(layer, { offset: 1000, signal });
    assert.equal(rest.offset, 1000);
    assert.ok(Buffer.concat(await Array.fromAsync(rest.body)).equals(bytes.subarray(1000)));

    const { pusher } = await clients.open({ reference: `${registry.host}/other/repo:1` });
    const refuse = (): AsyncIterable<Uint8Array> => assert.fail('the blob is to be mounted');
    const mountFrom = ['sample/busybox'];
    assert.equal(await pusher.pushBlob(layer, refuse, { mountFrom, signal }), 'mounted');
    assert.equal(await pusher.pushBlob(layer, refuse, { signal }), 'exists');
    const { pusher: fresh } = await clients.open({ reference: `${registry.host}/third/repo:1` });
    const self = await readFile(import.meta.filename);
    const blob = { mediaType: 'text/plain', digest: digestOf(self), sizeBytes: self.byteLength };
    const open = async function* (): AsyncGenerator<Uint8Array, void> {
      yield self.subarray(0, 100);
      yield self.subarray(100);
    };
    assert.equal(await fresh.pushBlob(blob, open, { signal }), 'pushed');
    assert.equal(await fresh.pushBlob(blob, open, { signal }), 'exists');
  });
});
