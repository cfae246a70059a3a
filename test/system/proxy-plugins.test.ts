/**
 * Proxy plugins: what other programs serve, under our daemon. Snapshotters, a differ and a content store by programs of
 * the test, and blockfile of a real containerd, whose snapshots are mounts of file systems and no directories.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { background, type Context, withNamespace } from '../../src/base/context.ts';
import { alreadyExists } from '../../src/base/errors.ts';
import { parseNamespace, parseSnapshotKey, type SnapshotKey } from '../../src/base/identifiers.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { ProxyContentStore } from '../../src/core/content/proxy-content-store.ts';
import { WalkingDiffer } from '../../src/core/diff/walking-differ.ts';
import { RemotePlugin } from '../../src/core/plugins/remote-plugin.ts';
import { makeBackend } from '../../src/core/snapshots/backend.fixture.ts';
import { NativeSnapshotter } from '../../src/core/snapshots/native.ts';
import type {
  CommitOptions,
  PrepareOptions,
  SnapshotInfo,
  Snapshotter,
} from '../../src/core/snapshots/snapshotter.ts';
import { chainIds } from '../../src/oci/chain-id.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import type { Mount } from '../../src/platform/mount.ts';
import { selectPlatform } from '../../src/platform/select.ts';
import { diffService } from '../../src/services/diff.ts';
import { buildImage, publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { servedSnapshotter, servePlugin } from '../../src/testing/remote-plugin.ts';
import { until } from '../../src/testing/until.ts';
import { type Ctr, ctrOf, debianCtr } from '../support/ctr.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt, run } from '../support/run.ts';

let registry: Registry;
let layered: TestRegistry;
before(async () => {
  registry = await startRegistry();
  layered = await TestRegistry.start();
});
after(async () => {
  await layered?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
});

const within = (name: string) => withNamespace(background(silentLogger), parseNamespace(name));
const keysOf = async (snapshotter: Snapshotter): Promise<string[]> =>
  (await Array.fromAsync(snapshotter.list(within('default'), []))).map(({ key }) => key);

/** Pulls, runs, takes all away again. */
async function assertRuns(ctr: Ctr, snapshotter: string): Promise<void> {
  const image = registry.reference('busybox');
  await ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotter, image);
  const hello = await ctr(
    'run',
    '--rm',
    '--snapshotter',
    snapshotter,
    image,
    'c1',
    'sh',
    '-c',
    'echo hello >f; cat f',
  );
  assert.equal(hello, 'hello\n');
  await ctr('images', 'rm', '--sync', image);
}

interface Layered {
  readonly reference: string;
  readonly layers: number;
  readonly chain: readonly string[];
  readonly descriptors: readonly Descriptor[];
}

/** Three layers, of which the second deletes a file of the first. */
function publishLayers(mark: string): Layered {
  const trees = [
    { 'etc/': {}, 'etc/base': mark, 'etc/gone': mark },
    { 'etc/.wh.gone': '', 'etc/middle': mark },
    { 'etc/top': mark },
  ];
  const image = buildImage(trees, { platform: hostPlatform() });
  publish(layered.storage, `layered-${basename(mark)}`, 'latest', image);
  return {
    reference: `${layered.host}/layered-${basename(mark)}:latest`,
    layers: trees.length,
    chain: chainIds(image.layers.map(({ diffId }) => diffId)),
    descriptors: image.layers.map(({ descriptor }) => descriptor),
  };
}

/** Passes every call on. */
class ProxiedCalls implements Snapshotter {
  readonly name: string;
  readonly capabilities: readonly string[] = [];
  readonly #backend: Snapshotter;

  constructor(backend: Snapshotter) {
    this.#backend = backend;
    this.name = backend.name;
  }

  stat: Snapshotter['stat'] = (...args) => this.#backend.stat(...args);
  update: Snapshotter['update'] = (...args) => this.#backend.update(...args);
  usage: Snapshotter['usage'] = (...args) => this.#backend.usage(...args);
  mounts: Snapshotter['mounts'] = (...args) => this.#backend.mounts(...args);
  view: Snapshotter['view'] = (...args) => this.#backend.view(...args);
  remove: Snapshotter['remove'] = (...args) => this.#backend.remove(...args);
  list: Snapshotter['list'] = (...args) => this.#backend.list(...args);
  cleanup: Snapshotter['cleanup'] = (...args) => this.#backend.cleanup(...args);

  prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#backend.prepare(ctx, key, options);
  }

  commit(ctx: Context, name: SnapshotKey, key: SnapshotKey, options: CommitOptions): Promise<void> {
    return this.#backend.commit(ctx, name, key, options);
  }
}

const topOf = (infos: readonly SnapshotInfo[]): SnapshotKey =>
  infos.find(({ key }) => infos.every(({ parent }) => parent !== key))!.key;

const proxy = (name: string, type: string, address: string): string =>
  `[proxy_plugins.${name}]\ntype = '${type}'\naddress = '${address}'\n`;

describe('a snapshotter of another program', { concurrency: 1 }, () => {
  const cleanup = new AsyncDisposableStack();
  let far: Snapshotter;
  let address = '';
  let gone = '';
  let program: AsyncDisposable;
  let daemon: Daemon;
  before(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'g-far-'));
    cleanup.defer(() => rm(directory, { recursive: true }));
    far = cleanup.use(await makeBackend(NativeSnapshotter)).snapshotter;
    address = join(directory, 'far.sock');
    gone = join(directory, 'gone.sock');
    program = await servePlugin([servedSnapshotter('far', far)], address);
    cleanup.defer(() => program[Symbol.asyncDispose]());
    const config = `${proxy('far', 'snapshot', address)}platform = 'linux/arm64'\ncapabilities = ['remap-ids']\nexports = { root = '/far' }\n${proxy('gone', 'snapshot', gone)}${proxy('pods', 'sandbox', gone)}`;
    daemon = cleanup.use(await startGantry({ config }));
  });
  after(() => cleanup.disposeAsync());

  test('is listed with all that the settings say of it, and so is one that nobody serves', async () => {
    const details = await daemon.ctr('plugins', 'ls', '-d', 'id==far');
    assert.match(details, /Type:\s+io\.containerd\.snapshotter\.v1\nID:\s+far\nPlatforms:\s+linux\/arm64/);
    assert.match(details, new RegExp(`\\n\\s+address\\s+${address}\n`));
    assert.match(details, /\n\s+root\s+\/far\n/);
    assert.match(details, /\nCapabilities:\s+remap-ids\n/);
    const list = await daemon.ctr('plugins', 'ls');
    assert.match(list, /io\.containerd\.snapshotter\.v1\s+gone\s+linux\/amd64\s+ok/);
    assert.match(list, /io\.containerd\.sandbox\.controller\.v1\s+pods\s+linux\/amd64\s+error/);
    assert.match(await daemon.log(), /sandbox controllers are not supported yet/);
  });

  for (const [name, binary] of [
    ['ctr 2.1, which lets the daemon unpack', undefined],
    ['ctr 1.6, which unpacks by itself', debianCtr],
  ] as const)
    test(`pull, run and collection go through to it: ${name}`, async () => {
      const ctr = binary === undefined ? daemon.ctr : ctrOf(binary, daemon.address);
      await assertRuns(ctr, 'far');
      const { reference, layers } = publishLayers(binary ?? 'newest');
      await ctr('images', 'pull', '--plain-http', '--snapshotter', 'far', reference);
      const there = await Array.fromAsync(far.list(within('default'), ['kind==committed']));
      assert.equal(there.filter(({ parent }) => parent !== undefined).length, layers - 1);
      const [view] = await far.view(within('default'), parseSnapshotKey('look'), { parent: topOf(there) });
      assert.deepEqual(readdirSync(join(view!.source, 'etc')).toSorted(), ['base', 'middle', 'top']);
      await far.remove(within('default'), parseSnapshotKey('look'));
      await ctr('images', 'rm', '--sync', reference);
      await until('nothing is left over there', async () => (await keysOf(far)).length === 0);
    });

  test('its keys are of our namespaces; ours see only their own', async () => {
    await daemon.ctr('-n', 'one', 'snapshots', '--snapshotter', 'far', 'prepare', 'k');
    await daemon.ctr('-n', 'two', 'snapshots', '--snapshotter', 'far', 'prepare', 'k');
    assert.deepEqual((await keysOf(far)).map((key) => key.replace(/\/\d+\//, '/N/')).toSorted(), [
      'one/N/k',
      'two/N/k',
    ]);
    for (const name of ['one', 'two']) {
      assert.match(await daemon.ctr('-n', name, 'snapshots', '--snapshotter', 'far', 'ls'), /\nk\s+Active/);
      await daemon.ctr('-n', name, 'snapshots', '--snapshotter', 'far', 'rm', 'k');
    }
    await until('a collection has removed them', async () => (await keysOf(far)).length === 0);
  });

  test('when it is not there, calls say who is missing and where; all else goes on, and so does it', async () => {
    const prepare = (): ReturnType<Ctr['attempt']> =>
      daemon.ctr.attempt(['snapshots', '--snapshotter', 'gone', 'prepare', 'k']);
    const missing = await prepare();
    assert.equal(missing.status, 1);
    assert.match(
      missing.stderr,
      new RegExp(
        `ENOENT.*\\(proxy plugin io\\.containerd\\.snapshotter\\.v1\\.gone at ${gone}\\): unavailable`,
      ),
    );
    const gantry = join(import.meta.dirname, '../../bin/gantry');
    const check = await attempt(gantry, ['--address', daemon.address, 'check']);
    assert.match(check.stdout, /notice: gone: its snapshots could not be looked at: connect ENOENT/);
    assert.equal(check.status, 0, check.stderr);
    await program[Symbol.asyncDispose]();
    const image = registry.reference('busybox');
    const pull = ['images', 'pull', '--plain-http', '--snapshotter', 'far', image];
    const failed = await daemon.ctr.attempt(pull);
    assert.equal(failed.status, 1);
    assert.match(
      failed.stderr,
      new RegExp(`proxy plugin io\\.containerd\\.snapshotter\\.v1\\.far at ${address}`),
    );
    await daemon.ctr('images', 'pull', '--plain-http', '--snapshotter', 'native', image);
    await daemon.ctr('images', 'rm', '--sync', image);
    program = await servePlugin([servedSnapshotter('far', far)], address);
    await until('it is found again', async () => (await daemon.ctr.attempt(pull)).status === 0);
    await assertRuns(daemon.ctr, 'far');
    await until('nothing is left over there', async () => (await keysOf(far)).length === 0);
  });
});

/** Has the lower layers of an image already, and says so when it is asked for a place to put them. */
class LazySnapshotter extends ProxiedCalls {
  readonly filled: string[] = [];
  readonly #has: readonly string[];

  constructor(backend: Snapshotter, has: readonly string[]) {
    super(backend);
    this.#has = has;
  }

  override async prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    const target = options.labels?.['containerd.io/snapshot.ref'] ?? '';
    const index = this.#has.indexOf(target);
    const mounts = await super.prepare(ctx, key, options);
    if (index === -1) return mounts;
    await writeFile(join(mounts[0]!.source, `lazy-${index}`), '');
    this.filled.push(target);
    // The second way to say it: nothing is left to write.
    if (index > 0) return mounts.map((mount) => ({ ...mount, options: ['rbind', 'ro'] }));
    const labels = { labels: { 'containerd.io/snapshot.ref': target } };
    await super.commit(ctx, parseSnapshotKey(`lazy ${target}`), key, labels);
    throw alreadyExists('target snapshot', target);
  }
}

test('layers that a snapshotter has are not fetched: those it commits itself, and those it has filled', async () => {
  await using cleanup = new AsyncDisposableStack();
  const { reference, chain, layers, descriptors } = publishLayers('lazy');
  const native = cleanup.use(await makeBackend(NativeSnapshotter)).snapshotter;
  const far = new LazySnapshotter(native, chain.slice(0, 2));
  const { address } = cleanup.use(await servePlugin([servedSnapshotter('lazy', far)]));
  const daemon = cleanup.use(await startGantry({ config: proxy('lazy', 'snapshot', address) }));
  await daemon.ctr('images', 'pull', '--plain-http', '--snapshotter', 'lazy', reference);
  assert.deepEqual(far.filled, chain.slice(0, 2));
  const fetched = descriptors.filter(({ digest }) =>
    layered.requests.some(({ method, path }) => method === 'GET' && path.includes(digest)),
  );
  assert.deepEqual(fetched, descriptors.slice(2));
  const committed = await daemon.ctr('snapshots', '--snapshotter', 'lazy', 'ls');
  for (const id of chain) assert.match(committed, new RegExp(`${id}.*Committed`));
  assert.equal(committed.match(/Committed/g)?.length, layers);
  await daemon.ctr('snapshots', '--snapshotter', 'lazy', 'view', 'look', chain.at(-1)!);
  const look = (await keysOf(native)).find((key) => key.endsWith('/look'));
  const [view] = await native.mounts(within('default'), parseSnapshotKey(look!));
  assert.deepEqual(readdirSync(view!.source).toSorted(), ['etc', 'lazy-0', 'lazy-1']);
});

test("a containerd's blockfile: file systems that are mounted, in namespaces that it wants told", async (t) => {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'g-block-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const scratch = join(directory, 'scratch');
  await writeFile(scratch, '');
  await truncate(scratch, 64 * 1024 * 1024);
  await run('mkfs.ext4', ['-q', scratch]);
  await mkdir(join(directory, 'blockfile'));
  // What it does not list in a lease or an image of its own is garbage to it.
  const config = `[plugins.'io.containerd.gc.v1.scheduler']\nmutation_threshold = 1000000\nstartup_delay = '24h'
[plugins.'io.containerd.snapshotter.v1.blockfile']\nroot_path = '${directory}/blockfile'\nscratch_file = '${scratch}'\nfs_type = 'ext4'\nmount_options = []\n`;
  const peer = cleanup.use(await startPeer({ config }));
  if (!/snapshotter\.v1\s+blockfile\s+\S+\s+ok/.test(await peer.ctr('plugins', 'ls'))) {
    t.skip(`${peer.name} has no blockfile snapshotter`);
    return;
  }
  const daemon = cleanup.use(await startGantry({ config: proxy('blockfile', 'snapshot', peer.address) }));
  const left = async (): Promise<string> => peer.ctr('snapshots', '--snapshotter', 'blockfile', 'ls');
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', '--snapshotter', 'blockfile', image);
  assert.match(await left(), /default\/\d+\/sha256:\w+\s+Committed/);
  await assertRuns(daemon.ctr, 'blockfile');
  await until('a collection of ours has emptied it', async () => !(await left()).includes('default/'));
});

test("another daemon's content store in the place of our own", async () => {
  await using cleanup = new AsyncDisposableStack();
  const gc =
    "[plugins.'io.containerd.gc.v1.scheduler']\nmutation_threshold = 1000000\nstartup_delay = '24h'\n";
  const far = cleanup.use(await startGantry({ config: gc }));
  const settings = proxy('far', 'content', far.address);
  const disabled = "disabled_plugins = ['io.containerd.content.v1.content']\n";
  const daemon = cleanup.use(await startGantry({ config: `${disabled}${settings}` }));
  const image = registry.reference('debian');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  const blobs = async (): Promise<string[]> =>
    (await far.ctr('-n', 'gantry', 'content', 'ls', '-q')).split('\n').filter((line) => line !== '');
  assert.deepEqual(
    (await blobs()).toSorted(),
    (await daemon.ctr('content', 'ls', '-q')).trim().split('\n').toSorted(),
  );
  assert.equal(await daemon.ctr('run', '--rm', image, 'c1', 'echo', 'hello'), 'hello\n');
  // From another namespace: the bytes are there already, under a record of its own.
  await daemon.ctr('-n', 'other', 'images', 'pull', '--plain-http', image);
  assert.match(await daemon.ctr('-n', 'other', 'images', 'check'), /complete \((\d+)\/\1\)/);
  await daemon.ctr('-n', 'other', 'images', 'rm', '--sync', image);
  assert.notEqual((await blobs()).length, 0);
  await daemon.ctr('images', 'rm', '--sync', image);
  assert.deepEqual(await blobs(), []);
});

test('two content plugins: the metadata store says which to disable', async () => {
  await using daemon = await startGantry({ config: proxy('far', 'content', '/run/nowhere.sock') });
  const list = await daemon.ctr('plugins', 'ls');
  assert.match(list, /io\.containerd\.content\.v1\s+far\s+linux\/amd64\s+ok/);
  assert.match(list, /io\.containerd\.metadata\.v1\s+bolt\s+-\s+error/);
  assert.match(
    await daemon.log(),
    /multiple plugins registered for io\.containerd\.content\.v1 \(content, far\)/,
  );
});

test('a differ of another program, which takes layers from our socket', async () => {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'g-differ-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const address = join(directory, 'differ.sock');
  const config = `${proxy('far', 'diff', address)}[plugins.'io.containerd.service.v1.diff-service']\ndefault = ['far']\n`;
  const daemon = cleanup.use(await startGantry({ config }));
  const remote = cleanup.use(new RemotePlugin({ plugin: 'daemon', address: daemon.address }));
  const differ = cleanup.use(
    new WalkingDiffer(
      { content: new ProxyContentStore({ remote }), platform: await selectPlatform(), log: silentLogger },
      { tempRoot: directory },
    ),
  );
  const image = registry.reference('debian');
  const pull = ['images', 'pull', '--plain-http', image];
  const missing = await daemon.ctr.attempt(pull);
  assert.match(missing.stderr, new RegExp(`proxy plugin io\\.containerd\\.differ\\.v1\\.far at ${address}`));
  cleanup.use(await servePlugin([diffService({ differs: [differ] })], address));
  await until('it is found', async () => (await daemon.ctr.attempt(pull)).status === 0);
  assert.equal(await daemon.ctr('run', '--rm', image, 'c1', 'echo', 'hello'), 'hello\n');
  await daemon.ctr('run', image, 'c2', 'sh', '-c', 'echo changed >/file');
  assert.ok((await daemon.ctr('snapshots', 'diff', 'c2')).length > 0);
});
