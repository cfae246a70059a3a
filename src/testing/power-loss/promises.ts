/** What the story has been promised, and whether a store keeps it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import {
  parseContainerId,
  parseImageName,
  parseIngestRef,
  parseSnapshotKey,
} from '../../base/identifiers.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { buildImage, buildLayer } from '../registry/image-builder.ts';
import type { SnapshotterName, StoreHost } from '../store-host.ts';

export interface Thing {
  readonly kind: 'lease' | 'content' | 'image' | 'active' | 'layer' | 'pulled' | 'container';
  readonly name: string;
}

export const thingText = ({ kind, name }: Thing): string => JSON.stringify([kind, name]);

const sampleLayers = [
  buildLayer({ 'etc/': {}, 'etc/os': 'one'.repeat(3000) }),
  buildLayer({
    'etc/more': 'two'.repeat(2000),
    'usr/': {},
    'usr/link': { kind: 'symlink', link: '/etc/os' },
  }),
];
export const sampleImage = buildImage(sampleLayers, { platform: hostPlatform() });

/** Root mounts overlays; others copy. */
export const snapshotterOf = (): SnapshotterName =>
  process.platform === 'linux' && process.geteuid?.() === 0 ? 'overlayfs' : 'native';

/** More than one write, told by its name. */
export const contentOf = (name: string): Buffer => Buffer.from(`${name} `.repeat(700));

/** What each thing must be, by what the story said so far: there, gone, or anything while it is being changed. */
export class Promises {
  readonly #states = new Map<string, 'there' | 'gone' | 'begin'>();

  hear(line: string): void {
    const space = line.indexOf(' ');
    this.#states.set(line.slice(space + 1), line.slice(0, space) as 'there' | 'gone' | 'begin');
  }

  /** Throws for the first that is not kept. */
  async check(host: StoreHost): Promise<void> {
    for (const [text, state] of this.#states) {
      if (state === 'begin') continue;
      const [kind, name] = JSON.parse(text) as [Thing['kind'], string];
      const found = await checks[kind](host, name);
      assert.equal(found, state === 'there', `${text} was acknowledged as ${state}`);
    }
  }
}

type Check = (host: StoreHost, name: string) => Promise<boolean>;

/** Whether a thing is there; that it is whole is asserted. */
const checks: Readonly<Record<Thing['kind'], Check>> = {
  lease: async ({ store, ctx }, name) => (await store.leases.list(ctx, [])).some(({ id }) => id === name),
  image: ({ store, ctx }, name) => isThere(store.images.get(ctx, parseImageName(name))),
  container: ({ store, ctx }, name) => isThere(store.containers.get(ctx, parseContainerId(name))),
  content: async ({ store, ctx }, name) => {
    const digest = digestOf(contentOf(name));
    if (!(await isThere(store.content.info(ctx, digest)))) return false;
    await using reader = await store.content.open(ctx, digest);
    const bytes = Buffer.alloc(reader.sizeBytes);
    await reader.readAt(bytes, 0);
    assert.ok(bytes.equals(contentOf(name)), `content ${name} has other bytes`);
    return true;
  },
  active: async ({ store, backend, ctx }, name) => {
    const [snapshotter, key] = [store.snapshotter(backend.name), parseSnapshotKey(name)];
    if (!(await isThere(snapshotter.stat(ctx, key)))) return false;
    await snapshotter.mounts(ctx, key);
    await snapshotter.usage(ctx, key);
    return true;
  },
  layer: async (host, name) => {
    const snapshotter = host.store.snapshotter(host.backend.name);
    if (!(await isThere(snapshotter.stat(host.ctx, parseSnapshotKey(name))))) return false;
    assert.ok(readLayer(host, name, name).equals(contentOf(name)), `layer ${name} has lost its bytes`);
    return true;
  },
  pulled: async (host, name) => {
    if (!(await isThere(host.store.images.get(host.ctx, parseImageName(name))))) return false;
    const [bottom, top] = chainIds(sampleLayers.map(({ diffId }) => diffId));
    assert.equal(readLayer(host, bottom ?? '', 'etc/os').toString(), 'one'.repeat(3000));
    assert.equal(readLayer(host, top ?? '', 'etc/more').toString(), 'two'.repeat(2000));
    return true;
  },
};

/** Whatever is left of an ingest that was cut off, it can be brought to its end. */
export async function finishIngest({ store, ctx }: StoreHost, name: string): Promise<void> {
  const bytes = contentOf(name);
  await using writer = await store.content.writer(ctx, { ref: parseIngestRef(name) });
  await writer.write(bytes.subarray(writer.status().offsetBytes));
  await writer.commit(ctx, { sizeBytes: bytes.length, expected: digestOf(bytes) });
}

/** A file of a committed layer's own directory. */
function readLayer({ backend }: StoreHost, name: string, file: string): Buffer {
  const found = backend.inspect().snapshots.find(({ record }) => record.key.endsWith(`/${name}`));
  assert.ok(found, `the snapshotter has no ${name}`);
  return readFileSync(join(found.directory, backend.name === 'overlayfs' ? 'fs' : '.', file));
}

async function isThere(asking: Promise<unknown>): Promise<boolean> {
  return asking.then(
    () => true,
    (error: unknown) => {
      if (hasCode(error, 'NotFound')) return false;
      throw error;
    },
  );
}
