/** The services over a real socket and real metadata: what clients see, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { digestOf } from '../base/digest.ts';
import { ContainerdError, type ErrorCode, unimplemented } from '../base/errors.ts';
import { silentLogger } from '../base/logger.ts';
import type { Differ } from '../core/diff/differ.ts';
import { Exchange } from '../core/events/exchange.ts';
import { StoreFixture } from '../core/metadata/store-fixture.suite.ts';
import type { PluginRecord } from '../core/plugins/graph.ts';
import { Containers } from '../wire/gen/containerd/services/containers/v1/containers_pb.js';
import { Content, WriteAction } from '../wire/gen/containerd/services/content/v1/content_pb.js';
import { Diff } from '../wire/gen/containerd/services/diff/v1/diff_pb.js';
import { Events } from '../wire/gen/containerd/services/events/v1/events_pb.js';
import { Images } from '../wire/gen/containerd/services/images/v1/images_pb.js';
import { Introspection } from '../wire/gen/containerd/services/introspection/v1/introspection_pb.js';
import { Leases } from '../wire/gen/containerd/services/leases/v1/leases_pb.js';
import { Namespaces } from '../wire/gen/containerd/services/namespaces/v1/namespace_pb.js';
import { Store } from '../wire/gen/containerd/services/sandbox/v1/sandbox_pb.js';
import { Kind, Snapshots } from '../wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import { Events as TtrpcEvents } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import { Version } from '../wire/gen/containerd/services/version/v1/version_pb.js';
import { Health, HealthCheckResponse_ServingStatus } from '../wire/gen/grpc/health/v1/health_pb.js';
import { connectGrpc } from '../wire/grpc/client.ts';
import { GrpcServer } from '../wire/grpc/server.ts';
import type { Connection } from '../wire/service.ts';
import { connectTtrpc } from '../wire/ttrpc/client.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { containersService } from './containers.ts';
import { contentService } from './content.ts';
import { diffService } from './diff.ts';
import { eventsService } from './events.ts';
import { healthService } from './health.ts';
import { imagesService } from './images.ts';
import { introspectionService } from './introspection.ts';
import { leasesService } from './leases.ts';
import { namespacesService } from './namespaces.ts';
import { sandboxesService } from './sandboxes.ts';
import { snapshotsService } from './snapshots.ts';
import { ttrpcEventsService } from './ttrpc-events.ts';
import { versionService } from './version.ts';

const inside = { namespace: 'default' };
const hello = digestOf('hello');
const absent = digestOf('absent');
const bytes = (text: string): Uint8Array => Buffer.from(text);
const sockets = {
  peerCredentials: () => ({ pid: process.pid, uid: process.getuid?.() ?? 0, gid: 0 }),
  sendDatagram: (): void => {},
};

const rejectsWith = (promise: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> =>
  assert.rejects(promise, (error: ContainerdError) => {
    assert(error instanceof ContainerdError, String(error));
    assert.equal(error.code, code, error.message);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });

async function all<Item>(source: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of source) items.push(item);
  return items;
}

async function* stream<Item>(...items: Item[]): AsyncGenerator<Item, void> {
  yield* items;
}

/** Refuses everything, then one that answers, to show the order of differs. */
const refusing: Differ = {
  apply: async () => {
    throw unimplemented('media type');
  },
  compare: async () => {
    throw unimplemented('media type');
  },
};
const answering: Differ = {
  apply: async (_ctx, layer) => ({ ...layer, mediaType: 'application/vnd.oci.image.layer.v1.tar' }),
  compare: async (_ctx, _lower, _upper, options) => ({
    mediaType: options.mediaType ?? 'default',
    digest: hello,
    sizeBytes: 5,
  }),
};

const plugins: PluginRecord[] = [
  {
    type: 'io.containerd.content.v1',
    id: 'content',
    requires: [],
    platforms: [{ os: 'linux', architecture: 'amd64' }],
    capabilities: ['a'],
    exports: { root: '/r' },
    status: 'ok',
    error: undefined,
  },
  {
    type: 'io.containerd.snapshotter.v1',
    id: 'btrfs',
    requires: ['io.containerd.metadata.v1'],
    platforms: [],
    capabilities: [],
    exports: {},
    status: 'skip',
    error: new ContainerdError('Unknown', 'no btrfs: skip plugin'),
  },
];

describe('services', () => {
  let fixture: StoreFixture;
  let exchange: Exchange;
  let listener: UnixListener;
  let server: GrpcServer;
  let connection: Connection;

  before(async () => {
    fixture = await StoreFixture.make();
    exchange = new Exchange();
    const { store } = fixture;
    listener = await UnixListener.listen({ sockets }, join(fixture.directory, 'grpc.sock'));
    server = new GrpcServer({
      log: silentLogger,
      services: [
        versionService({ version: '2.1.0', revision: 'r' }),
        healthService({ services: [] }),
        namespacesService({ namespaces: store.namespaces }),
        containersService({ containers: store.containers }),
        imagesService({ images: store.images }),
        leasesService({ leases: store.leases }),
        sandboxesService({ sandboxes: store.sandboxes }),
        contentService({ content: store.content }),
        snapshotsService({ snapshotters: new Map([['records', store.snapshotter('records')]]) }),
        diffService({ differs: [refusing, answering] }),
        eventsService({ events: exchange }),
        introspectionService(
          { plugins: () => plugins, deprecations: () => [] },
          { uuidPath: join(fixture.directory, 'introspection', 'uuid') },
        ),
      ],
    });
    server.attach(listener);
    connection = connectGrpc(listener.path);
  });

  after(async () => {
    await connection[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await listener.close();
    await fixture[Symbol.asyncDispose]();
  });

  it('version and health', async () => {
    const { version, revision } = await connection.client(Version).version({});
    assert.deepEqual([version, revision], ['2.1.0', 'r']);
    const health = connection.client(Health);
    assert.equal((await health.check({})).status, HealthCheckResponse_ServingStatus.SERVING);
    await rejectsWith(health.check({ service: 'nope' }), 'NotFound');
    const controller = new AbortController();
    const watch = health.watch({}, { signal: controller.signal })[Symbol.asyncIterator]();
    assert.equal((await watch.next()).value?.status, HealthCheckResponse_ServingStatus.SERVING);
    controller.abort();
    await rejectsWith(watch.next(), 'Canceled');
  });

  it('namespaces', async () => {
    const namespaces = connection.client(Namespaces);
    assert.equal((await namespaces.get({ name: '../x' })).namespace?.name, '../x');
    await rejectsWith(namespaces.create({ namespace: { name: '..' } }), 'InvalidArgument', /must match/);
    await rejectsWith(namespaces.create({}), 'InvalidArgument');
    await namespaces.create({ namespace: { name: 'made', labels: { a: 'b' } } });
    await rejectsWith(namespaces.create({ namespace: { name: 'made' } }), 'AlreadyExists', /"made"/);
    await rejectsWith(
      namespaces.update({ namespace: { name: 'made' }, updateMask: { paths: ['labels'] } }),
      'InvalidArgument',
    );
    assert.deepEqual((await namespaces.get({ name: 'made' })).namespace?.labels, { a: 'b' });
    await namespaces.delete({ name: 'made' });
    await rejectsWith(namespaces.delete({ name: 'made' }), 'NotFound');
    await rejectsWith(namespaces.delete({ name: '' }), 'NotFound');
  });

  it('containers', async () => {
    const containers = connection.client(Containers);
    const spec = { typeUrl: 'some.Spec', value: bytes('{}') };
    const container = { id: 'c1', runtime: { name: 'r' }, spec, labels: { a: 'b' }, extensions: { e: spec } };
    await rejectsWith(containers.get({ id: 'c1' }), 'FailedPrecondition', /^namespace is required$/);
    await rejectsWith(containers.get({ id: '../x' }, inside), 'NotFound');
    await rejectsWith(
      containers.create({ container: { ...container, id: '../x' } }, inside),
      'InvalidArgument',
    );
    const created = (await containers.create({ container }, inside)).container;
    assert.equal(Buffer.from(created?.spec?.value ?? []).toString(), '{}');
    assert.equal(created?.extensions['e']?.typeUrl, 'some.Spec');
    assert(created?.createdAt !== undefined && created.createdAt.seconds > 0n);
    await rejectsWith(containers.create({ container }, inside), 'AlreadyExists');
    const mask = { paths: ['labels.x'] };
    const changed = { id: 'c1', labels: { x: 'y', ignored: 'z' } };
    const updated = (await containers.update({ container: changed, updateMask: mask }, inside)).container;
    assert.deepEqual(updated?.labels, { a: 'b', x: 'y' });
    await rejectsWith(
      containers.update({ container: changed, updateMask: { paths: ['zz'] } }, inside),
      'InvalidArgument',
    );
    const listed = (await containers.list({ filters: ['labels.x==y'] }, inside)).containers;
    assert.deepEqual(
      listed.map(({ id }) => id),
      ['c1'],
    );
    assert.equal((await all(containers.listStream({}, inside))).length, 1);
    await rejectsWith(containers.list({ filters: ['a=='] }, inside), 'InvalidArgument');
    await containers.delete({ id: 'c1' }, inside);
    await rejectsWith(containers.delete({ id: 'c1' }, inside), 'NotFound');
  });

  it('images', async () => {
    const images = connection.client(Images);
    const target = { digest: hello, size: 5n, mediaType: 'a/b', annotations: { q: 'r' } };
    await rejectsWith(images.create({ image: { name: 'x' } }, inside), 'InvalidArgument');
    await rejectsWith(images.create({ image: { name: '', target } }, inside), 'InvalidArgument');
    await rejectsWith(
      images.create({ image: { name: 'x', target: { ...target, digest: 'md5:1' } } }, inside),
      'InvalidArgument',
    );
    await rejectsWith(
      images.create({ image: { name: 'x', target: { ...target, size: 0n } } }, inside),
      'InvalidArgument',
    );
    const epoch = { seconds: 1000n, nanos: 5 };
    const { image } = await images.create(
      { image: { name: 'x', target, labels: { a: 'b', e: '' } }, sourceDateEpoch: epoch },
      inside,
    );
    assert.deepEqual(image?.labels, { a: 'b' });
    assert.deepEqual([image?.createdAt?.seconds, image?.createdAt?.nanos], [1000n, 5]);
    assert.deepEqual(image?.target?.annotations, { q: 'r' });
    await rejectsWith(images.create({ image: { name: 'x', target } }, inside), 'AlreadyExists');
    await rejectsWith(images.get({ name: '' }, inside), 'NotFound');
    await rejectsWith(
      images.delete({ name: 'x', target: { ...target, digest: absent } }, inside),
      'NotFound',
    );
    await rejectsWith(images.delete({ name: 'x', target: { ...target, digest: 'zz' } }, inside), 'NotFound');
    await images.delete({ name: 'x', target }, inside);
    assert.equal((await images.list({}, inside)).images.length, 0);
  });

  it('leases', async () => {
    const leases = connection.client(Leases);
    const { lease } = await leases.create({ labels: { a: 'b' } }, inside);
    assert((lease?.id.length ?? 0) > 0);
    await leases.create({ id: 'l1' }, inside);
    await rejectsWith(leases.create({ id: 'l1' }, inside), 'AlreadyExists');
    const resource = { type: 'content', id: hello };
    await leases.addResource({ id: 'l1', resource }, inside);
    await rejectsWith(leases.addResource({ id: 'l1' }, inside), 'InvalidArgument');
    await rejectsWith(
      leases.addResource({ id: 'l1', resource: { type: 'zz', id: 'x' } }, inside),
      'Unimplemented',
    );
    await rejectsWith(
      leases.addResource({ id: 'l1', resource: { type: 'snapshots', id: 'x' } }, inside),
      'InvalidArgument',
    );
    const listed = (await leases.listResources({ id: 'l1' }, inside)).resources;
    assert.deepEqual(
      listed.map(({ type, id }) => ({ type, id })),
      [resource],
    );
    await rejectsWith(leases.delete({ id: '' }, inside), 'NotFound');
    await leases.delete({ id: 'l1' }, inside);
    await rejectsWith(leases.listResources({ id: 'l1' }, inside), 'NotFound');
  });

  it('sandbox records', async () => {
    const store = connection.client(Store);
    await store.create({ sandbox: { sandboxId: 's1', runtime: { name: 'r' }, sandboxer: 'shim' } }, inside);
    assert.equal((await store.get({ sandboxId: 's1' }, inside)).sandbox?.sandboxer, 'shim');
    await rejectsWith(
      store.update({ sandbox: { sandboxId: 's1' }, fields: ['zz'] }, inside),
      'InvalidArgument',
    );
    await store.update({ sandbox: { sandboxId: 's1', labels: { a: 'b' } }, fields: ['labels'] }, inside);
    assert.deepEqual((await store.list({}, inside)).list[0]?.labels, { a: 'b' });
    await store.delete({ sandboxId: 's1' }, inside);
    await rejectsWith(store.get({ sandboxId: '' }, inside), 'NotFound');
  });

  it('snapshots', async () => {
    const snapshots = connection.client(Snapshots);
    const snapshotter = 'records';
    await rejectsWith(snapshots.prepare({ key: 'k' }, inside), 'InvalidArgument', /missing/);
    await rejectsWith(
      snapshots.prepare({ snapshotter: 'zz', key: 'k' }, inside),
      'InvalidArgument',
      /not loaded: zz/,
    );
    await rejectsWith(snapshots.prepare({ snapshotter, key: 'k' }), 'FailedPrecondition');
    await rejectsWith(snapshots.stat({ snapshotter, key: '' }, inside), 'NotFound');
    const { mounts } = await snapshots.prepare({ snapshotter, key: 'k' }, inside);
    assert.equal(mounts[0]?.type, 'bind');
    await rejectsWith(snapshots.prepare({ snapshotter, key: 'k' }, inside), 'AlreadyExists');
    await snapshots.commit({ snapshotter, name: 'n', key: 'k', labels: { a: 'b' } }, inside);
    const { info } = await snapshots.stat({ snapshotter, key: 'n' }, inside);
    assert.deepEqual([info?.name, info?.kind, info?.labels], ['n', Kind.COMMITTED, { a: 'b' }]);
    for (let index = 0; index < 120; index += 1)
      await snapshots.view({ snapshotter, key: `v${index}`, parent: 'n' }, inside);
    const blocks = await all(snapshots.list({ snapshotter }, inside));
    assert.deepEqual(
      blocks.map((block) => block.info.length),
      [100, 21],
    );
    await rejectsWith(snapshots.remove({ snapshotter, key: 'n' }, inside), 'FailedPrecondition');
    await rejectsWith(snapshots.mounts({ snapshotter, key: 'n' }, inside), 'FailedPrecondition');
    await rejectsWith(snapshots.update({ snapshotter }, inside), 'InvalidArgument');
    assert.equal((await snapshots.usage({ snapshotter, key: 'n' }, inside)).inodes, 1n);
    await snapshots.cleanup({ snapshotter }, inside);
    assert.equal(fixture.backend.cleanups, 1);
  });

  describe('content', () => {
    const write = WriteAction.WRITE;
    const commit = WriteAction.COMMIT;

    it('writes: each message answered, the last one twice', async () => {
      const content = connection.client(Content);
      const answers = await all(
        content.write(
          stream(
            { action: WriteAction.STAT, ref: 'w1', total: 5n },
            { action: write, data: bytes('hel') },
            { action: write, offset: 3n, data: bytes('lo') },
            { action: commit, offset: 5n, expected: hello, total: 5n, labels: { a: 'b', e: '' } },
          ),
          inside,
        ),
      );
      assert.deepEqual(
        answers.map(({ action, offset, total }) => [action, offset, total]),
        [
          [WriteAction.STAT, 0n, 5n],
          [write, 3n, 0n],
          [write, 5n, 0n],
          [commit, 5n, 0n],
          [commit, 5n, 0n],
        ],
      );
      assert.equal(answers[0]?.digest, digestOf(''));
      assert.equal(answers[1]?.digest, digestOf('hel'));
      assert.equal(answers[1]?.startedAt, undefined);
      assert.equal(answers.at(-1)?.digest, hello);
      const { info } = await content.info({ digest: hello }, inside);
      assert.deepEqual([info?.size, info?.labels], [5n, { a: 'b' }]);
    });

    it('refuses what containerd refuses in a write', async () => {
      const content = connection.client(Content);
      const run = (
        ...messages: Parameters<typeof content.write>[0] extends AsyncIterable<infer M> ? M[] : never
      ) => all(content.write(stream(...messages), inside));
      await rejectsWith(run(), 'Unknown', /^EOF$/);
      await rejectsWith(run({ action: write }), 'InvalidArgument', /must have a reference/);
      await rejectsWith(
        run({ action: write, ref: 'w2', data: bytes('abc') }, { action: write, offset: 9n }),
        'OutOfRange',
        /write @9 must occur at current offset 3/,
      );
      // What was written stays for a resume; an offset of 0 starts over, one below appends.
      assert.equal((await content.status({ ref: 'w2' }, inside)).status?.offset, 3n);
      const over = await run(
        { action: write, ref: 'w2', offset: -1n, data: bytes('d') },
        { action: write, offset: 0n, data: bytes('xy') },
      );
      assert.deepEqual(
        over.map(({ offset }) => offset),
        [4n, 2n, 2n],
      );
      await rejectsWith(run({ action: commit, ref: 'w2', offset: 2n, total: 9n }), 'FailedPrecondition');
      await rejectsWith(
        run({ action: commit, ref: 'w2', offset: 2n, expected: absent }),
        'FailedPrecondition',
      );
      await rejectsWith(run({ action: WriteAction.STAT, ref: 'w3', expected: hello }), 'AlreadyExists');
      await rejectsWith(
        run(
          { action: write, ref: 'w4', data: bytes('hello') },
          { action: commit, offset: 5n, expected: hello },
        ),
        'AlreadyExists',
        /blob with expected digest/,
      );
      await rejectsWith(content.status({ ref: 'w4' }, inside), 'NotFound');
      await content.abort({ ref: 'w2' }, inside);
      await rejectsWith(content.abort({ ref: 'w2' }, inside), 'NotFound');
    });

    it('holds the lock of a ref for as long as its stream lasts', async () => {
      const content = connection.client(Content);
      const { promise: done, resolve } = Promise.withResolvers<void>();
      const slow = (async function* () {
        yield { action: write, ref: 'locked', data: bytes('a') };
        await done;
      })();
      const first = content.write(slow, inside)[Symbol.asyncIterator]();
      await first.next();
      await rejectsWith(all(content.write(stream({ ref: 'locked' }), inside)), 'Unavailable', /locked/);
      await first.return?.();
      resolve();
      // The lock goes with the stream, which ends a moment after the client has gone.
      for (;;) {
        const again = await all(content.write(stream({ ref: 'locked' }), inside)).catch((error: unknown) => {
          assert(error instanceof ContainerdError && error.code === 'Unavailable', String(error));
        });
        if (again !== undefined) break;
      }
      assert.equal((await content.status({ ref: 'locked' }, inside)).status?.offset, 1n);
    });

    it('reads ranges, counting from the start of the read', async () => {
      const content = connection.client(Content);
      const read = async (offset: bigint, size: bigint): Promise<string> => {
        const parts = await all(content.read({ digest: hello, offset, size }, inside));
        if (parts[0] !== undefined) assert.equal(parts[0].offset, 0n);
        return Buffer.concat(parts.map(({ data }) => data)).toString();
      };
      assert.equal(await read(0n, 0n), 'hello');
      assert.equal(await read(2n, 0n), 'llo');
      assert.equal(await read(1n, 2n), 'el');
      assert.equal(await read(-6n, -2n), 'hello');
      assert.equal(await read(5n, 0n), '');
      assert.equal(await read(3n, 99n), 'lo');
      await rejectsWith(read(6n, 0n), 'OutOfRange', /read past object length 5 bytes/);
      await rejectsWith(all(content.read({ digest: absent }, inside)), 'NotFound');
    });

    it('answers for infos, labels and lists', async () => {
      const content = connection.client(Content);
      await rejectsWith(content.info({ digest: 'nope' }, inside), 'InvalidArgument');
      await rejectsWith(content.info({ digest: hello }), 'FailedPrecondition');
      await rejectsWith(content.info({ digest: hello }, { namespace: 'elsewhere' }), 'NotFound');
      await rejectsWith(
        content.update({ info: { digest: hello }, updateMask: { paths: ['size'] } }, inside),
        'InvalidArgument',
      );
      const { info } = await content.update(
        { info: { digest: hello, labels: { x: 'y' } }, updateMask: { paths: ['labels.x'] } },
        inside,
      );
      assert.deepEqual(info?.labels, { a: 'b', x: 'y' });
      const blocks = await all(content.list({ filters: ['labels.x'] }, inside));
      assert.deepEqual(
        blocks.map((block) => block.info.map(({ digest }) => digest)),
        [[hello]],
      );
      assert.deepEqual(await all(content.list({}, { namespace: 'empty' })), []);
      await rejectsWith(all(content.list({ filters: ['digest=='] }, inside)), 'InvalidArgument');
      await content.delete({ digest: hello }, inside);
      await rejectsWith(content.delete({ digest: hello }, inside), 'NotFound');
    });
  });

  it('diff: the first differ that takes it', async () => {
    const diff = connection.client(Diff);
    const layer = { digest: hello, size: 5n, mediaType: 'x/y' };
    const { applied } = await diff.apply({ diff: layer }, inside);
    assert.equal(applied?.mediaType, 'application/vnd.oci.image.layer.v1.tar');
    assert.equal((await diff.diff({ mediaType: 'z' }, inside)).diff?.mediaType, 'z');
    await rejectsWith(diff.apply({}, inside), 'InvalidArgument');
    await rejectsWith(diff.diff({}), 'FailedPrecondition');
  });

  it('events, over gRPC and from shims over ttrpc', async () => {
    const events = connection.client(Events);
    const event = { typeUrl: 'containerd.events.TaskOOM', value: Uint8Array.of(10, 1, 99) };
    await rejectsWith(events.publish({ topic: '/a', event }), 'FailedPrecondition');
    await rejectsWith(events.publish({ topic: 'a', event }, inside), 'InvalidArgument');
    const zero = { seconds: -62_135_596_800n };
    await rejectsWith(
      events.forward({ envelope: { namespace: 'a', topic: '/a', timestamp: zero } }),
      'InvalidArgument',
    );
    await rejectsWith(events.forward({ envelope: { namespace: '..', topic: '/a' } }), 'InvalidArgument');

    const place = await UnixListener.listen({ sockets }, join(fixture.directory, 'ttrpc.sock'));
    const ttrpc = new TtrpcServer(
      { services: [ttrpcEventsService({ events: exchange })], log: silentLogger },
      { sameUserOnly: true },
    );
    ttrpc.attach(place);
    const shim = await connectTtrpc(place.path);

    const subscription = events.subscribe({ filters: ['event.container_id==c'] })[Symbol.asyncIterator]();
    const first = subscription.next();
    while (exchange.subscribers === 0) await new Promise((resolve) => setImmediate(resolve));
    await events.publish({ topic: '/tasks/oom', event }, inside);
    assert.equal((await first).value?.namespace, 'default');
    const envelope = { namespace: 'moby', topic: '/tasks/oom', event, timestamp: { seconds: 5n, nanos: 7 } };
    await shim.client(TtrpcEvents).forward({ envelope });
    const second = (await subscription.next()).value;
    assert.deepEqual(
      [second?.namespace, second?.timestamp?.seconds, second?.timestamp?.nanos],
      ['moby', 5n, 7],
    );
    assert.deepEqual([...(second?.event?.value ?? [])], [...event.value]);
    await subscription.return?.();
    while (exchange.subscribers > 0) await new Promise((resolve) => setImmediate(resolve));
    await shim[Symbol.asyncDispose]();
    await ttrpc[Symbol.asyncDispose]();
    await place.close();
  });

  it('introspection', async () => {
    const introspection = connection.client(Introspection);
    const one = await introspection.server({});
    assert.match(one.uuid, /^[0-9a-f-]{36}$/);
    assert.equal((await introspection.server({})).uuid, one.uuid);
    assert.equal(one.pid, BigInt(process.pid));
    assert(one.pidns > 0n);
    const listed = (await introspection.plugins({ filters: ['id==btrfs'] })).plugins;
    assert.equal(listed.length, 1);
    assert.equal(listed[0]?.initErr?.message, 'no btrfs: skip plugin');
    assert.equal((await introspection.plugins({})).plugins.length, 2);
    await rejectsWith(introspection.pluginInfo({ type: 'a', id: 'b' }), 'NotFound');
    const options = { typeUrl: 'x', value: bytes('') };
    const { type, id } = plugins[1] as PluginRecord;
    assert.equal((await introspection.pluginInfo({ type, id })).plugin?.id, 'btrfs');
    await rejectsWith(introspection.pluginInfo({ type, id, options }), 'FailedPrecondition');
    await rejectsWith(
      introspection.pluginInfo({ type: 'io.containerd.content.v1', id: 'content', options }),
      'Unimplemented',
    );
  });
});
