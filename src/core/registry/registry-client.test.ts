/** The registry client against a registry that can be told to misbehave. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { type BuiltImage, buildImage, publish } from '../../testing/registry/image-builder.ts';
import { TestRegistry, type TestRegistryOptions } from '../../testing/registry/test-registry.ts';
import type { CredentialSource, RegistryEndpoint } from '../transfer/transfer.ts';
import { type OpenRepository, Registry } from './registry.ts';
import type { RemoteContent } from './registry-client.ts';

const { signal } = new AbortController();

/** A registry with an image under `a/b:1`, and our client for it. */
class Fixture implements AsyncDisposable {
  readonly remote: TestRegistry;
  readonly registry: Registry;
  readonly image: BuiltImage;
  readonly target: Descriptor;

  static async make(options: TestRegistryOptions = {}, hostsRoots: string[] = []): Promise<Fixture> {
    return new Fixture(await TestRegistry.start(options), hostsRoots);
  }

  private constructor(remote: TestRegistry, hostsRoots: string[]) {
    this.remote = remote;
    this.registry = new Registry(
      { log: silentLogger },
      { hostsRoots, http: { userAgent: 'test' }, retry: { backoffMs: 1, maxBackoffMs: 2 } },
    );
    this.image = buildImage([{ 'etc/x': 'x'.repeat(1000) }]);
    this.target = publish(remote.storage, 'a/b', '1', this.image);
  }

  get layer(): Descriptor {
    return this.image.layers[0]!.descriptor;
  }

  open(endpoint: Partial<RegistryEndpoint> = {}): Promise<OpenRepository> {
    return this.registry.open({ reference: `${this.remote.host}/a/b:1`, ...endpoint });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]();
    await this.remote[Symbol.asyncDispose]();
  }
}

async function read(content: RemoteContent): Promise<Buffer> {
  await using open = content;
  const chunks: Uint8Array[] = [];
  for await (const chunk of open.body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const login: CredentialSource = async () => ({ kind: 'basic', username: 'u', secret: 'p' });
const bearer = { kind: 'bearer', username: 'u', password: 'p', refreshToken: 'r' } as const;
const count = (remote: TestRegistry, path: string): number =>
  remote.requests.filter((request) => request.path.startsWith(path)).length;

void describe('resolve', () => {
  for (const options of [{}, { omitDigests: true }])
    void it(`finds a tag and a digest${'omitDigests' in options ? ' of a host that sends no digests' : ''}`, async () => {
      await using fixture = await Fixture.make(options);
      const { client } = await fixture.open();
      assert.deepEqual(await client.resolve({ signal }), fixture.target);
      const byDigest = await fixture.open({
        reference: `${fixture.remote.host}/a/b@${fixture.target.digest}`,
      });
      assert.deepEqual(await byDigest.client.resolve({ signal }), fixture.target);
    });
  void it('asks again by GET where HEAD is refused', async () => {
    await using fixture = await Fixture.make();
    fixture.remote.faults.add({
      method: 'HEAD',
      path: '/manifests/',
      effect: { kind: 'status', status: 405 },
    });
    const { client } = await fixture.open();
    assert.deepEqual(await client.resolve({ signal }), fixture.target);
  });
  void it('tells what is not there, and what names nothing', async () => {
    await using fixture = await Fixture.make();
    const { client } = await fixture.open({ reference: `${fixture.remote.host}/a/b:no` });
    await assert.rejects(client.resolve({ signal }), (error) => hasCode(error, 'NotFound'));
    const bare = await fixture.open({ reference: `${fixture.remote.host}/a/b` });
    await assert.rejects(bare.client.resolve({ signal }), (error) => hasCode(error, 'InvalidArgument'));
  });
  void it('refuses schema 1 with what to do', async () => {
    await using fixture = await Fixture.make();
    fixture.remote.storage.addManifest('a/b', mediaTypes.dockerSchema1Signed, Buffer.from('{}'), 'old');
    const { client } = await fixture.open({ reference: `${fixture.remote.host}/a/b:old` });
    await assert.rejects(client.resolve({ signal }), /schema 1.*push the image again/);
  });
  void it('refuses a digest that is not the one asked for', async () => {
    await using fixture = await Fixture.make();
    const other = digestOf('other');
    fixture.remote.faults.add({
      path: '/manifests/',
      times: 9,
      effect: { kind: 'header', headers: { 'docker-content-digest': other } },
    });
    const { client } = await fixture.open({
      reference: `${fixture.remote.host}/a/b@${fixture.target.digest}`,
    });
    await assert.rejects(client.resolve({ signal }), /answered with digest/);
  });
});

void describe('fetch', () => {
  void it('brings manifests and blobs, whole and from an offset', async () => {
    await using fixture = await Fixture.make();
    const { client } = await fixture.open();
    assert.deepEqual(await read(await client.fetch(fixture.target, { signal })), fixture.image.manifest);
    const whole = fixture.image.layers[0]!.bytes;
    assert.deepEqual(await read(await client.fetch(fixture.layer, { signal })), whole);
    const rest = await client.fetch(fixture.layer, { offset: 50, signal });
    assert.equal(rest.offset, 50);
    assert.deepEqual(await read(rest), whole.subarray(50));
  });
  void it('says so when a host cannot start in the middle', async () => {
    await using fixture = await Fixture.make({ omitRanges: true });
    const { client } = await fixture.open();
    const content = await client.fetch(fixture.layer, { offset: 50, signal });
    assert.equal(content.offset, 0);
    await content[Symbol.asyncDispose]();
  });
  void it('refuses another part and another length than asked for', async () => {
    await using fixture = await Fixture.make();
    const { client } = await fixture.open();
    const blob = `/blobs/${fixture.layer.digest}`;
    fixture.remote.faults.add({
      path: blob,
      effect: { kind: 'header', headers: { 'content-range': 'bytes 7-9/10' } },
    });
    await assert.rejects(client.fetch(fixture.layer, { offset: 50, signal }), /asked for bytes from 50/);
    const wrong = { ...fixture.layer, sizeBytes: 5 };
    await assert.rejects(client.fetch(wrong, { signal }), /which has 5 left by its descriptor/);
  });
  void it('follows to the storage of others without the authorization', async () => {
    await using fixture = await Fixture.make({ redirectBlobs: true, auth: bearer });
    const { client } = await fixture.open({ credentials: login });
    await read(await client.fetch(fixture.layer, { signal }));
    const there = fixture.remote.requests.filter(({ redirected }) => redirected);
    assert.equal(there.length, 1);
    assert.equal(there[0]?.headers.authorization, undefined);
    assert.ok(!JSON.stringify(client.trace.data()).includes('secret'));
  });
  void it('survives a reset, a busy server and a lost connection before the body', async () => {
    await using fixture = await Fixture.make();
    const { client } = await fixture.open();
    fixture.remote.faults.add({ path: '/blobs/', effect: { kind: 'reset' } });
    fixture.remote.faults.add({
      path: '/blobs/',
      effect: { kind: 'status', status: 503, headers: { 'retry-after': '0' } },
    });
    fixture.remote.faults.add({
      path: '/blobs/',
      effect: { kind: 'status', status: 429, headers: { 'retry-after': '0' } },
    });
    assert.deepEqual(
      await read(await client.fetch(fixture.layer, { signal })),
      fixture.image.layers[0]!.bytes,
    );
  });
  void it('tells a body that ends early as Unavailable, so that it can be resumed', async () => {
    await using fixture = await Fixture.make();
    const { client } = await fixture.open();
    fixture.remote.faults.add({ path: '/blobs/', effect: { kind: 'cut', afterBytes: 10 } });
    const content = await client.fetch(fixture.layer, { signal });
    await assert.rejects(read(content), (error) => hasCode(error, 'Unavailable'));
  });
  void it('is cancelled in the middle of a body', async () => {
    await using fixture = await Fixture.make();
    const { client } = await fixture.open();
    const [release, reached] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    fixture.remote.faults.add({
      path: '/blobs/',
      effect: { kind: 'hold', afterBytes: 10, release, reached },
    });
    const aborter = new AbortController();
    const content = await client.fetch(fixture.layer, { signal: aborter.signal });
    const reading = read(content);
    await reached.promise;
    aborter.abort();
    await assert.rejects(reading, (error) => hasCode(error, 'Canceled'));
    release.resolve();
  });
});

void describe('authorization', () => {
  void it('Basic', async () => {
    await using fixture = await Fixture.make({ auth: { kind: 'basic', username: 'u', password: 'p' } });
    const { client } = await fixture.open({ credentials: login });
    assert.deepEqual(await client.resolve({ signal }), fixture.target);
    const anonymous = await fixture.open();
    await assert.rejects(anonymous.client.resolve({ signal }), (error) => hasCode(error, 'Unauthenticated'));
  });
  void it('a token without credentials where anybody may pull', async () => {
    await using fixture = await Fixture.make({ auth: { ...bearer, anonymousPull: true } });
    const { client } = await fixture.open();
    assert.deepEqual(await client.resolve({ signal }), fixture.target);
  });
  void it('a token for a user, asked for once, however many need it', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    const asked: string[] = [];
    const { client } = await fixture.open({
      credentials: async ({ host, challenges }) => {
        asked.push(`${host} ${challenges.length}`);
        return { kind: 'basic', username: 'u', secret: 'p' };
      },
    });
    await client.resolve({ signal });
    await Promise.all([1, 2, 3, 4].map(async () => read(await client.fetch(fixture.layer, { signal }))));
    assert.equal(count(fixture.remote, '/token'), 1);
    assert.deepEqual(asked, [`${fixture.remote.host} 1`]);
  });
  void it('a refresh token goes by POST', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    const { client } = await fixture.open({ credentials: async () => ({ kind: 'refresh', token: 'r' }) });
    assert.deepEqual(await client.resolve({ signal }), fixture.target);
    assert.deepEqual(
      fixture.remote.requests.filter(({ path }) => path.startsWith('/token')).map(({ method }) => method),
      ['POST'],
    );
  });
  void it('a ready header goes as it is', async () => {
    await using fixture = await Fixture.make({ auth: { kind: 'basic', username: 'u', password: 'p' } });
    const value = `Basic ${Buffer.from('u:p').toString('base64')}`;
    const { client } = await fixture.open({ credentials: async () => ({ kind: 'header', value }) });
    assert.deepEqual(await client.resolve({ signal }), fixture.target);
  });
  void it('a token that the registry forgot is replaced', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    const { client } = await fixture.open({ credentials: login });
    await client.resolve({ signal });
    fixture.remote.access.revokeTokens();
    await read(await client.fetch(fixture.layer, { signal }));
    assert.equal(count(fixture.remote, '/token'), 2);
  });
  void it('wrong credentials are told once, with advice and without the secret', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    const { client } = await fixture.open({
      credentials: async () => ({ kind: 'basic', username: 'u', secret: 'hunter2' }),
    });
    await assert.rejects(client.resolve({ signal }), (error) => {
      const message = String(error);
      return (
        hasCode(error, 'Unauthenticated') &&
        /check user and password/.test(message) &&
        !message.includes('hunter2')
      );
    });
    assert.equal(count(fixture.remote, '/token'), 1);
    assert.ok(!JSON.stringify(client.trace.data()).includes('hunter2'));
  });
  void it('a token server that answers nonsense is told', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    for (const [body, reason] of [
      ['<html>', /not JSON/],
      ['{}', /without a token/],
      ['{"token":"a b"}', /without a token/],
    ] as const) {
      fixture.remote.faults.add({ path: '/token', effect: { kind: 'status', status: 200, body } });
      const { client } = await fixture.open({ credentials: login });
      await assert.rejects(client.resolve({ signal }), reason);
    }
  });
});

void describe('several hosts', () => {
  async function withMirror(
    work: (fixture: {
      mirror: TestRegistry;
      up: Fixture;
      root: string;
      config: (text: string) => Promise<void>;
    }) => Promise<void>,
  ): Promise<void> {
    const root = await mkdtemp(join(tmpdir(), 'gantry-hosts-'));
    try {
      await using mirror = await TestRegistry.start();
      await using up = await Fixture.make({}, [root]);
      const directory = join(root, up.remote.host);
      await mkdir(directory);
      await work({ mirror, up, root, config: (text) => writeFile(join(directory, 'hosts.toml'), text) });
    } finally {
      await rm(root, { recursive: true });
    }
  }

  void it('asks the mirror first and tells it whose content it is', async () =>
    withMirror(async ({ mirror, up, config }) => {
      await config(`[host."${mirror.url}"]\n  [host."${mirror.url}".header]\n  X-Key = "k"`);
      publish(mirror.storage, 'a/b', '1', up.image);
      const { client, trace } = await up.open();
      await client.resolve({ signal });
      assert.deepEqual(up.remote.seen(), []);
      assert.equal(mirror.requests[0]?.path, `/v2/a/b/manifests/1?ns=${encodeURIComponent(up.remote.host)}`);
      assert.equal(mirror.requests[0]?.headers['x-key'], 'k');
      const data = trace.data();
      assert.match(data.configuration ?? '', /hosts\.toml$/);
      assert.deepEqual(
        data.hosts.map(({ isMirror }) => isMirror),
        [true, false],
      );
      assert.deepEqual(
        data.steps.map(({ status }) => status),
        [200],
      );
    }));
  void it('goes on to the registry when the mirror has nothing, is broken, or is not there', async () =>
    withMirror(async ({ mirror, up, config }) => {
      await config(`[host."${mirror.url}"]\n[host."http://127.0.0.1:1"]\n`);
      const { client } = await up.open();
      assert.deepEqual(await client.resolve({ signal }), up.target);
      mirror.faults.add({ path: '/v2/', times: 99, effect: { kind: 'status', status: 500 } });
      assert.deepEqual(await read(await client.fetch(up.layer, { signal })), up.image.layers[0]!.bytes);
    }));
  void it('keeps to what a host may do', async () =>
    withMirror(async ({ mirror, up, config }) => {
      await config(`[host."${mirror.url}"]\ncapabilities = ["pull"]\n`);
      publish(mirror.storage, 'a/b', '1', up.image);
      const { client, pusher } = await up.open();
      await client.resolve({ signal });
      await read(await client.fetch(up.layer, { signal }));
      await pusher.pushManifest(up.target, up.image.manifest, { tag: '2', signal });
      assert.deepEqual(mirror.seen(), [`GET /v2/a/b/blobs/${up.layer.digest}`]);
    }));
  void it('tells what each host answered when all fail', async () =>
    withMirror(async ({ mirror, up, config }) => {
      await config(`[host."${mirror.url}"]\n`);
      up.remote.faults.add({ path: '/v2/', times: 99, effect: { kind: 'status', status: 403 } });
      const { client } = await up.open();
      await assert.rejects(client.resolve({ signal }), (error) => {
        const { message } = error as Error;
        return (
          hasCode(error, 'PermissionDenied') &&
          message.includes(`${mirror.host}: not found`) &&
          message.includes(
            `${up.remote.host}: GET ${up.remote.url}/v2/a/b/manifests/1 answered with status 403`,
          )
        );
      });
    }));
  void it('credentials are asked for the host that wants them', async () =>
    withMirror(async ({ up, config }) => {
      await using guarded = await TestRegistry.start({
        auth: { kind: 'basic', username: 'm', password: 'p' },
      });
      await config(`[host."${guarded.url}"]\n`);
      const hosts: string[] = [];
      const { client } = await up.open({
        credentials: async ({ host }) => {
          hosts.push(host);
          return { kind: 'none' };
        },
      });
      assert.deepEqual(await client.resolve({ signal }), up.target);
      assert.deepEqual(hosts, [guarded.host]);
    }));
});

void describe('push', () => {
  void it('sends what is not there, once, and manifests last', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    const { pusher, client } = await fixture.open({
      reference: `${fixture.remote.host}/new/x:2`,
      credentials: login,
    });
    const bytes = fixture.image.layers[0]!.bytes;
    const open = async function* () {
      yield bytes.subarray(0, 10);
      yield bytes.subarray(10);
    };
    assert.equal(await pusher.pushBlob(fixture.layer, open, { signal }), 'pushed');
    assert.equal(await pusher.pushBlob(fixture.layer, open, { signal }), 'exists');
    const { target, image } = fixture;
    assert.equal(await pusher.pushManifest(target, image.manifest, { tag: '2', signal }), 'pushed');
    assert.equal(await pusher.pushManifest(target, image.manifest, { tag: '2', signal }), 'exists');
    assert.deepEqual(fixture.remote.storage.blob('new/x', fixture.layer.digest), bytes);
    assert.deepEqual(await client.resolve({ signal }), target);
  });
  void it('a tag that names something else is moved', async () => {
    await using fixture = await Fixture.make();
    const { pusher, client } = await fixture.open();
    const other = buildImage([{ y: 'y' }]);
    const { platform: _, ...descriptor } = other.descriptor;
    assert.equal(await pusher.pushManifest(descriptor, other.manifest, { tag: '1', signal }), 'pushed');
    assert.deepEqual(await client.resolve({ signal }), descriptor);
  });
  void it('mounts a blob of another repository', async () => {
    await using fixture = await Fixture.make({ auth: bearer });
    const { pusher } = await fixture.open({
      reference: `${fixture.remote.host}/new/x:2`,
      credentials: login,
    });
    const open = (): AsyncIterable<Uint8Array> => assert.fail('nothing is to be sent');
    assert.equal(await pusher.pushBlob(fixture.layer, open, { mountFrom: ['a/b'], signal }), 'mounted');
  });
  void it('tells a registry that refuses', async () => {
    await using fixture = await Fixture.make();
    const { pusher } = await fixture.open({ reference: `${fixture.remote.host}/new/x:2` });
    fixture.remote.faults.add({
      method: 'POST',
      path: '/uploads/',
      effect: { kind: 'status', status: 403, body: '{"errors":[{"code":"DENIED","message":"read only"}]}' },
    });
    await assert.rejects(
      pusher.pushBlob(fixture.layer, async function* () {}, { signal }),
      (error) => hasCode(error, 'PermissionDenied') && /DENIED: read only/.test(String(error)),
    );
  });
});
