/** Objects of all kinds that refer to each other by labels, made and listed in few words. */
import { type Digest, digestOf } from '../../base/digest.ts';
import { parseContainerId, parseImageName, parseSnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { putContent } from '../content/content-store.suite.ts';
import type { StoreFixture } from '../metadata/store.fixture.ts';

/** An instant that is over, as labels say it. */
export const past = '2001-01-01T00:00:00Z';

export const bytesOf = (name: string): Buffer => Buffer.from(`bytes of ${name}`);
export const digestFor = (name: string): Digest => digestOf(bytesOf(name));

/** Stores `bytesOf(name)`. */
export const put = (fixture: StoreFixture, name: string, labels: Labels = {}): Promise<Digest> =>
  putContent(fixture.store.content, fixture.ctx, bytesOf(name), { labels });

export async function contents(fixture: StoreFixture): Promise<string[]> {
  return (await Array.fromAsync(fixture.store.content.list(fixture.ctx, []))).map(({ digest }) => digest);
}

export async function snapshots(fixture: StoreFixture): Promise<string[]> {
  const list = fixture.store.snapshotter('records').list(fixture.ctx, []);
  return (await Array.fromAsync(list)).map((info) => info.key).toSorted();
}

export const blobs = async (fixture: StoreFixture): Promise<string[]> =>
  Array.fromAsync(fixture.local.blobs());

/** A record whose target are the bytes of `content`. */
export const image = (name: string, content: string, labels: Labels = {}) => ({
  name: parseImageName(name),
  target: { mediaType: 'x', digest: digestFor(content), sizeBytes: 1 },
  labels,
});

export async function commitSnapshot(
  fixture: StoreFixture,
  name: string,
  parent?: string,
  labels: Labels = {},
): Promise<void> {
  const snapshotter = fixture.store.snapshotter('records');
  await snapshotter.prepare(
    fixture.ctx,
    parseSnapshotKey(`${name} active`),
    parent === undefined ? {} : { parent: parseSnapshotKey(parent) },
  );
  await snapshotter.commit(fixture.ctx, parseSnapshotKey(name), parseSnapshotKey(`${name} active`), {
    labels,
  });
}

/** A record whose root file system is the snapshot of that key. */
export const container = (
  id: string,
  snapshotKey: string,
  { labels = {}, image: name = '' }: { labels?: Labels; image?: string } = {},
) => ({
  id: parseContainerId(id),
  labels,
  image: name,
  runtime: { name: 'runc', options: undefined },
  spec: { typeUrl: 's', value: new Uint8Array() },
  snapshotter: 'records',
  snapshotKey: parseSnapshotKey(snapshotKey),
  extensions: {},
  sandbox: '',
});
