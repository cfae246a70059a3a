/** Hostile and failing input: a clear error by the right code, nothing half-done, nothing leaked, still serving. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { descriptorsOf, mountsBelow } from '../../src/testing/held.ts';
import {
  buildImage,
  buildLayer,
  type FileTree,
  publish,
  treeTar,
} from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { until } from '../../src/testing/until.ts';
import { Content, WriteAction } from '../../src/wire/gen/containerd/services/content/v1/content_pb.js';
import { Version } from '../../src/wire/gen/containerd/services/version/v1/version_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { run } from '../support/run.ts';

interface Held {
  readonly descriptors: number;
  readonly mounts: number;
  readonly children: number;
}

async function held(daemon: Daemon): Promise<Held> {
  return {
    descriptors: descriptorsOf(daemon.pid).length,
    mounts: mountsBelow(daemon.root).length,
    children: (await readFile(`/proc/${daemon.pid}/task/${daemon.pid}/children`, 'utf8'))
      .split(' ')
      .filter(Boolean).length,
  };
}

const hostile: readonly (readonly [string, FileTree | Buffer])[] = [
  ['a name that climbs', { '../escaped': 'x' }],
  [
    'a symlink out and a file through it',
    { out: { kind: 'symlink', link: '../../../../../../../../tmp' }, 'out/gantry-escaped': 'x' },
  ],
  [
    'an absolute symlink and a file through it',
    { out: { kind: 'symlink', link: '/tmp' }, 'out/gantry-escaped': 'x' },
  ],
  ['a hard link to the host', { link: { kind: 'hardlink', link: '../../../../../../../../etc/passwd' } }],
  [
    'a hard link through a symlink',
    { out: { kind: 'symlink', link: '/etc' }, link: { kind: 'hardlink', link: 'out/passwd' } },
  ],
  ['a whiteout that climbs', { 'a/../../.wh.b': '' }],
  ['a tar cut in the middle', treeTar({ file: 'x'.repeat(4096) }).subarray(0, 2048)],
  ['noise', Buffer.alloc(4096, 0x5a)],
];

describe('faults', { concurrency: 1 }, () => {
  let daemon: Daemon;
  let registry: TestRegistry;
  before(async () => {
    registry = await TestRegistry.start();
    daemon = await startGantry();
    publish(registry.storage, 'good', 'latest', buildImage([{ 'bin/tool': 'x' }]));
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const pull = (repository: string, ...flags: string[]) =>
    daemon.ctr.attempt(['images', 'pull', '--plain-http', ...flags, `${registry.host}/${repository}:latest`]);

  for (const flags of [[], ['--local']])
    describe(`pulled ${flags.length === 0 ? 'in the daemon' : 'by the client'}`, { concurrency: 1 }, () => {
      for (const [what, tree] of hostile)
        test(`a layer with ${what} leaves nothing outside and nothing half-done`, async () => {
          const repository = `hostile-${what.replace(/\W+/g, '-')}`;
          publish(registry.storage, repository, 'latest', buildImage([buildLayer(tree)]));
          await pull('good', ...flags);
          const earlier = await held(daemon);
          await pull(repository, ...flags);
          await assert.rejects(readFile('/tmp/gantry-escaped'), { code: 'ENOENT' });
          await until('nothing is held', async () => {
            const now = await held(daemon);
            return now.descriptors <= earlier.descriptors && now.mounts === earlier.mounts;
          });
          assert.doesNotMatch(await daemon.ctr('snapshots', 'ls'), /Active/);
        });

      test('a blob that is not what its digest says is refused, and kept out', async () => {
        const image = buildImage([{ lie: `${flags.length}` }]);
        publish(registry.storage, 'lies', 'latest', image);
        const layer = image.layers[0]?.descriptor.digest ?? '';
        registry.faults.add({ path: layer, method: 'GET', effect: { kind: 'corrupt' }, times: 10 });
        const { status, stderr } = await pull('lies', ...flags);
        registry.faults.clear();
        assert.notEqual(status, 0);
        assert.match(stderr, /failed precondition|digest/);
        assert.doesNotMatch(await daemon.ctr('content', 'ls', '-q'), new RegExp(layer));
      });

      test('a registry that stops half way is an error now and a success later', async () => {
        const image = buildImage([{ half: Buffer.alloc(300_000, flags.length) }], { compression: 'none' });
        publish(registry.storage, 'half', 'latest', image);
        const layer = image.layers[0]?.descriptor.digest ?? '';
        registry.faults.add({ path: layer, method: 'GET', effect: { kind: 'cut', afterBytes: 100_000 } });
        registry.faults.add({
          path: layer,
          method: 'GET',
          effect: { kind: 'status', status: 404 },
          times: 1000,
        });
        assert.notEqual((await pull('half', ...flags)).status, 0);
        registry.faults.clear();
        assert.equal((await pull('half', ...flags)).status, 0);
      });
    });

  test('bytes that are not HTTP/2, and a connection that goes away, leave the daemon serving', async () => {
    const earlier = await held(daemon);
    for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\0'.repeat(1000), '']) {
      const socket = connect(daemon.address);
      await once(socket, 'connect');
      socket.write(bytes);
      socket.destroy();
    }
    const ttrpc = connect(`${daemon.address}.ttrpc`);
    ttrpc.on('error', () => {});
    await once(ttrpc, 'connect');
    ttrpc.end(Buffer.from('ffffffffffffffffffff', 'hex'));
    await daemon.ctr('version');
    await until('descriptors are back', async () => (await held(daemon)).descriptors <= earlier.descriptors);
  });

  test('a message above 16 MiB is ResourceExhausted, and the connection of others goes on', async () => {
    await using connection = connectGrpc(daemon.address);
    const content = connection.client(Content);
    async function* tooMuch() {
      yield { ref: 'large', data: new Uint8Array(17 * 1024 * 1024) };
    }
    await assert.rejects(
      async () => {
        for await (const _ of content.write(tooMuch(), { namespace: 'default' })) continue;
      },
      { code: 'ResourceExhausted' },
    );
    assert.ok((await connection.client(Version).version({})).version);
  });

  test('a writer that vanishes frees its ref and keeps what was written', async () => {
    const vanished = new AbortController();
    async function* halfWritten() {
      yield { ref: 'vanishing', action: WriteAction.WRITE, data: new Uint8Array(2_000_000) };
      await once(vanished.signal, 'abort');
    }
    {
      await using connection = connectGrpc(daemon.address);
      const answers = connection.client(Content).write(halfWritten(), { namespace: 'default' });
      assert.equal((await answers[Symbol.asyncIterator]().next()).done, false);
      assert.match(await daemon.ctr('content', 'active'), /vanishing\s+2/);
    }
    vanished.abort();
    await using connection = connectGrpc(daemon.address);
    async function* asked() {
      yield { ref: 'vanishing', action: WriteAction.STAT };
    }
    await until('the ref is free', async () => {
      for await (const { offset } of connection.client(Content).write(asked(), { namespace: 'default' }))
        return offset === 2_000_000n;
      return false;
    });
  });
});

test('a full disk is ResourceExhausted, leaves nothing half-done, and heals', async () => {
  await using registry = await TestRegistry.start();
  await using daemon = await startGantry();
  publish(
    registry.storage,
    'big',
    'latest',
    buildImage([{ big: Buffer.alloc(24 * 1024 * 1024, 7) }], { compression: 'none' }),
  );
  await daemon.stop();
  await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', daemon.root]);
  await daemon.start();
  const pull = () =>
    daemon.ctr.attempt([
      'images',
      'pull',
      '--plain-http',
      '--snapshotter',
      'native',
      `${registry.host}/big:latest`,
    ]);
  const full = await pull();
  assert.notEqual(full.status, 0);
  assert.match(full.stderr, /no space left|resource exhausted/i);
  assert.equal((await daemon.ctr('images', 'ls', '-q')).trim(), '');
  await run('mount', ['-o', 'remount,size=256m', daemon.root]);
  assert.equal((await pull()).status, 0);
});
