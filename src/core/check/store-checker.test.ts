import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { type Digest, digestHex, digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseImageName, parseIngestRef, parseLeaseId, parseSnapshotKey } from '../../base/identifiers.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { buildImage, buildLayer, publish } from '../../testing/registry/image-builder.ts';
import { TestRegistry } from '../../testing/registry/test-registry.ts';
import { type CheckResult, StoreHost } from '../../testing/store-host.ts';
import { putContent } from '../content/content-store.suite.ts';

const bottom = buildLayer({ 'etc/': {}, 'etc/os': 'one' });
const top = buildLayer({ 'etc/more': 'two' });
const image = buildImage([bottom, top], { platform: hostPlatform() });

class Lab implements AsyncDisposable {
  readonly registry: TestRegistry;
  readonly host: StoreHost;
  readonly reference: string;
  readonly #directory: string;

  private constructor(registry: TestRegistry, host: StoreHost, directory: string) {
    this.registry = registry;
    this.host = host;
    this.reference = `${registry.host}/sample:latest`;
    this.#directory = directory;
  }

  /** A store with one image, pulled and unpacked. */
  static async make(): Promise<Lab> {
    const directory = mkdtempSync(join(tmpdir(), 'gantry-check-'));
    const registry = await TestRegistry.start();
    publish(registry.storage, 'sample', 'latest', image);
    const lab = new Lab(registry, await StoreHost.open(directory), directory);
    await lab.host.pull(lab.reference);
    return lab;
  }

  blob(digest: Digest): string {
    return join(this.#directory, 'content/blobs/sha256', digestHex(digest));
  }

  get content(): string {
    return join(this.#directory, 'content');
  }

  snapshots(): string {
    return join(this.#directory, 'native/snapshots');
  }

  async clean(): Promise<void> {
    const { findings, summary } = await this.host.check();
    assert.deepEqual(findings, []);
    assert.equal(summary.left, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
    await this.registry[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const kinds = ({ findings }: CheckResult): string[] => findings.map(({ kind }) => kind);

async function damage(path: string): Promise<void> {
  await chmod(path, 0o600);
  await writeFile(path, 'x', { flag: 'r+' });
}

test('a whole store has no findings, and everything in it is counted', async () => {
  await using lab = await Lab.make();
  const { findings, summary } = await lab.host.check();
  assert.deepEqual(findings, []);
  const { blobs, hashedBlobs, snapshots, images } = summary.counts;
  assert.deepEqual(
    { blobs, hashedBlobs, snapshots, images },
    { blobs: 4, hashedBlobs: 4, snapshots: 2, images: 1 },
  );
});

test('a missing and a damaged blob: which image, and both come back from the registry', async () => {
  await using lab = await Lab.make();
  rmSync(lab.blob(bottom.descriptor.digest));
  await damage(lab.blob(top.descriptor.digest));
  const found = await lab.host.check();
  assert.deepEqual(kinds(found).sort(), ['content-corrupt', 'content-missing']);
  for (const { breaks, severity } of found.findings) {
    assert.equal(severity, 'damage');
    assert.deepEqual(breaks, [`image ${lab.reference} (namespace default)`]);
  }
  assert.equal(found.summary.left, 2);
  const repaired = await lab.host.check({ repair: true });
  assert.deepEqual(
    repaired.findings.map(({ outcome, detail }) => [outcome, detail]),
    Array.from({ length: 2 }, () => ['repaired', `fetched again from ${lab.registry.host}/sample`]),
  );
  await lab.clean();
});

test('digests are read as far as asked for', async () => {
  await using lab = await Lab.make();
  await damage(lab.blob(top.descriptor.digest));
  assert.deepEqual(kinds(await lab.host.check({ digests: 'none' })), []);
  assert.deepEqual(kinds(await lab.host.check({ digests: 'sample' })), ['content-corrupt']);
});

test('a wrong size in the record is corrected, a wrong size of the blob is fetched', async () => {
  await using lab = await Lab.make();
  const { digest } = top.descriptor;
  await lab.host.database.write((sql) => sql.run('UPDATE content SET size = 1 WHERE digest = ?', digest));
  assert.deepEqual(kinds(await lab.host.check()), ['content-size']);
  await lab.host.check({ repair: true });
  await lab.clean();
  await chmod(lab.blob(digest), 0o600);
  await writeFile(lab.blob(digest), 'more', { flag: 'a' });
  assert.deepEqual(kinds(await lab.host.check({ digests: 'none' })), ['content-size']);
  await lab.host.check({ repair: true });
  await lab.clean();
});

test('what no registry gives is dropped, and the image that is broken by it is told', async () => {
  await using lab = await Lab.make();
  const { digest } = image.configDescriptor;
  await damage(lab.blob(digest));
  lab.registry.faults.add({ path: digest, effect: { kind: 'status', status: 404 }, times: 10 });
  const repaired = await lab.host.check({ repair: true });
  assert.deepEqual(kinds(repaired), ['content-corrupt', 'image-broken']);
  const [content, broken] = repaired.findings;
  assert.match(content?.detail ?? '', /^dropped from default: no registry gives it/);
  assert.equal(broken?.outcome, 'left');
  assert.equal(broken?.what, `image ${lab.reference}`);
  assert.equal(repaired.summary.left, 1);
  await assert.rejects(lab.host.store.content.info(lab.host.ctx, digest), (error) =>
    hasCode(error, 'NotFound'),
  );
});

test('a registry that cannot be asked is no reason to drop anything', async () => {
  await using lab = await Lab.make();
  const { digest } = top.descriptor;
  await damage(lab.blob(digest));
  lab.registry.faults.add({ path: digest, effect: { kind: 'status', status: 403 }, times: 10 });
  const { findings } = await lab.host.check({ repair: true });
  assert.deepEqual(
    findings.map(({ kind, outcome }) => [kind, outcome]),
    [['content-corrupt', 'left']],
  );
  await lab.host.store.content.info(lab.host.ctx, digest);
});

test('an image whose blob was deleted gets it again, manifest first', async () => {
  await using lab = await Lab.make();
  const { content } = lab.host.store;
  for (const digest of [image.descriptor.digest, top.descriptor.digest])
    await content.delete(lab.host.ctx, digest);
  const found = await lab.host.check();
  assert.deepEqual(new Set(kinds(found)), new Set(['image-broken', 'content-orphan']));
  await lab.host.check({ repair: true });
  await lab.host.check({ repair: true });
  await lab.clean();
  await lab.host.collector.run(lab.host.ctx);
  await lab.clean();
});

test('layers that were discarded after unpacking are no hole', async () => {
  await using lab = await Lab.make();
  for (const { descriptor } of image.layers)
    await lab.host.store.content.delete(lab.host.ctx, descriptor.digest);
  await lab.host.collector.run(lab.host.ctx);
  await lab.clean();
});

test('orphans are notices, and a repair has the collector remove them', async () => {
  await using lab = await Lab.make();
  const orphan = Buffer.from('nobody lists me');
  writeFileSync(lab.blob(digestOf(orphan)), orphan);
  mkdirSync(join(lab.content, 'ingest/half-made'));
  mkdirSync(join(lab.snapshots(), '4711'));
  const found = await lab.host.check();
  assert.deepEqual(kinds(found).sort(), ['content-orphan', 'ingest-orphan', 'snapshot-directory-orphan']);
  assert.deepEqual([found.summary.left, found.summary.notices], [0, 3]);
  const repaired = await lab.host.check({ repair: true });
  assert.deepEqual(
    repaired.findings.map(({ detail }) => detail),
    Array(3).fill('removed by a collection'),
  );
  await lab.clean();
});

test('a file that is no blob is told and never removed', async () => {
  await using lab = await Lab.make();
  const stray = join(lab.content, 'blobs/sha256/notes.txt');
  writeFileSync(stray, 'mine');
  utimesSync(stray, 0, 0);
  const repaired = await lab.host.check({ repair: true });
  assert.deepEqual(kinds(repaired), ['content-stray']);
  assert.equal(repaired.findings[0]?.outcome, 'left');
  assert.equal(repaired.summary.left, 1);
});

test('what is being written is neither told nor touched', async () => {
  await using lab = await Lab.make();
  const { content } = lab.host.store;
  const bytes = Buffer.from('on its way');
  await using writer = await content.writer(lab.host.ctx, { ref: parseIngestRef('busy') });
  await writer.write(bytes);
  const check = lab.host.check({ repair: true });
  const committed = writer.commit(lab.host.ctx, { labels: { 'containerd.io/gc.root': 'yes' } });
  const [{ findings }] = await Promise.all([check, committed]);
  assert.deepEqual(findings, []);
  await content.info(lab.host.ctx, digestOf(bytes));
  await lab.clean();
});

test('repairs beside work that goes on: nothing of it is told, nothing of it is lost', async () => {
  await using lab = await Lab.make();
  const { host } = lab;
  const { content, images } = host.store;
  const working = async (): Promise<void> => {
    for (let count = 0; count < 40; count += 1) {
      const bytes = Buffer.from(`work ${count} `.repeat(count + 1));
      const digest = await putContent(content, host.ctx, bytes, {
        labels: { 'containerd.io/gc.root': 'yes' },
      });
      if (count % 3 === 0) await content.delete(host.ctx, digest);
      const key = parseSnapshotKey(`work ${count}`);
      await host.store
        .snapshotter('native')
        .prepare(host.ctx, key, { labels: { 'containerd.io/gc.root': 'yes' } });
      if (count % 4 === 0) await host.store.snapshotter('native').remove(host.ctx, key);
      if (count % 10 === 0) {
        await images.delete(host.ctx, parseImageName(lab.reference), {});
        await host.pull(lab.reference);
      }
    }
  };
  const state = { isDone: false };
  const work = working().finally(() => {
    state.isDone = true;
  });
  let checks = 0;
  for (; !state.isDone || checks === 0; checks += 1) {
    const { findings } = await host.check({ repair: true });
    assert.deepEqual(
      findings.filter(({ severity }) => severity !== 'notice'),
      [],
      `check ${checks}`,
    );
  }
  await work;
  await host.collector.run(host.ctx);
  await lab.clean();
  const { counts } = (await host.check()).summary;
  assert.deepEqual([counts.blobs, counts.snapshots], [4 + 26, 2 + 30]);
});

test('a lost layer goes with what stands on it, and the next pull unpacks it again', async () => {
  await using lab = await Lab.make();
  const lost = lab.host.backend.inspect().snapshots.find(({ record }) => record.parent === undefined);
  rmSync(lost?.directory ?? '', { recursive: true });
  const found = await lab.host.check();
  assert.deepEqual(kinds(found), ['snapshot-directory-missing']);
  assert.ok(found.findings[0]?.breaks.includes(`image ${lab.reference} (namespace default)`));
  assert.equal((await lab.host.check({ repair: true })).summary.repaired, 1);
  await lab.clean();
  await lab.host.pull(lab.reference);
  await lab.clean();
  assert.equal((await lab.host.check()).summary.counts.snapshots, 2);
});

test('a lost layer under a container is left, for the container has data', async () => {
  await using lab = await Lab.make();
  const { host } = lab;
  const snapshotter = host.store.snapshotter('native');
  const keys = (await Array.fromAsync(snapshotter.list(host.ctx, []))).filter(
    ({ parent }) => parent !== undefined,
  );
  const parent = keys[0]?.key ?? parseSnapshotKey('absent');
  await snapshotter.prepare(host.ctx, parseSnapshotKey('rw'), { parent });
  const lost = host.backend
    .inspect()
    .snapshots.find(({ record }) => record.kind === 'committed' && record.parent !== undefined);
  rmSync(lost?.directory ?? '', { recursive: true });
  const { findings, summary } = await host.check({ repair: true });
  assert.deepEqual(
    findings.map(({ kind, outcome }) => [kind, outcome]),
    [['snapshot-directory-missing', 'left']],
  );
  assert.match(findings[0]?.detail ?? '', /rw stand on it and may hold data/);
  assert.equal(summary.left, 1);
});

test('a row without its snapshot, and one whose parent is another', async () => {
  await using lab = await Lab.make();
  const { host } = lab;
  const rows = host.database.read((sql) => sql.all('SELECT * FROM snapshots ORDER BY parent IS NULL'));
  await host.database.write((sql) =>
    sql.run(
      'UPDATE snapshots SET backend_key = ? WHERE key = ?',
      'default/999/gone',
      rows[0]?.['key'] as string,
    ),
  );
  const found = await host.check();
  assert.deepEqual(kinds(found).sort(), ['snapshot-missing', 'snapshot-orphan']);
  await host.check({ repair: true });
  await lab.clean();
});

test('the lost directory of an active snapshot is made anew', async () => {
  await using lab = await Lab.make();
  const { host } = lab;
  await host.store.snapshotter('native').prepare(host.ctx, parseSnapshotKey('rw'), {});
  const lost = host.backend.inspect().snapshots.find(({ record }) => record.kind === 'active');
  renameSync(lost?.directory ?? '', join(lab.snapshots(), 'rm-away'));
  const repaired = await host.check({ repair: true });
  assert.deepEqual(repaired.findings.map(({ kind, outcome }) => `${kind} ${outcome}`).sort(), [
    'snapshot-directory-missing repaired',
    'snapshot-directory-orphan repaired',
  ]);
  await lab.clean();
});

test('a container without its snapshot, and leases that point at nothing', async () => {
  await using lab = await Lab.make();
  const { host } = lab;
  const { leases, containers } = host.store;
  await containers.create(host.ctx, {
    id: 'c1' as never,
    labels: {},
    image: '',
    runtime: { name: 'x', options: undefined },
    spec: { typeUrl: 'x', value: new Uint8Array() },
    snapshotter: 'native',
    snapshotKey: 'gone',
    extensions: {},
    sandbox: '',
  });
  const id = parseLeaseId('l1');
  await leases.create(host.ctx, { id, labels: {} });
  await putContent(host.store.content, withLease(host.ctx, id), Buffer.from('held'));
  await leases.addResource(host.ctx, id, { type: 'images', id: 'nobody' });
  const young = await host.check();
  assert.deepEqual(
    young.findings.map(({ kind, severity }) => [kind, severity]),
    [
      ['container-broken', 'damage'],
      ['lease-dangling', 'notice'],
    ],
  );
  await host.database.write((sql) => sql.run('UPDATE leases SET created_at = 1'));
  const old = await host.check({ repair: true });
  assert.deepEqual(
    old.findings.map(({ kind, outcome }) => [kind, outcome]),
    [
      ['container-broken', 'left'],
      ['lease-dangling', 'repaired'],
    ],
  );
  assert.deepEqual(await leases.listResources(host.ctx, id), [{ type: 'content', id: digestOf('held') }]);
});

test('an image that names nothing here is told, and left when its name is of no registry', async () => {
  await using lab = await Lab.make();
  const target = { mediaType: image.descriptor.mediaType, digest: digestOf('nowhere'), sizeBytes: 7 };
  await lab.host.store.images.create(lab.host.ctx, {
    name: parseImageName('Not A Reference'),
    target,
    labels: {},
  });
  const { findings } = await lab.host.check({ repair: true });
  assert.deepEqual(
    findings.map(({ kind, outcome }) => [kind, outcome]),
    [['image-broken', 'left']],
  );
});

test('one check at a time', async () => {
  await using lab = await Lab.make();
  const first = lab.host.check();
  await assert.rejects(lab.host.check(), (error) => hasCode(error, 'Unavailable'));
  await first;
});
