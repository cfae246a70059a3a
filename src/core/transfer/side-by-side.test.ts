/** Layers unpacked side by side give what they give one after the other, whatever they have to do with each other. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { deferred } from '../../base/deferred.ts';
import { instantOfMs } from '../../base/time.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import {
  type BuiltImage,
  buildImage,
  buildLayer,
  type FileTree,
  publish,
  type TreeNode,
} from '../../testing/registry/image-builder.ts';
import { diffTrees, readTree, type TreeEntry } from '../../testing/tree.ts';
import { noise, TransferFixture } from './transfer.fixture.ts';

const overlayfs = { snapshotter: 'overlayfs' } as const;
const imageOf = (layers: readonly FileTree[]): BuiltImage => buildImage(layers, { platform: hostPlatform() });

/** The trees of all layers, each as its own directory has it, the uppermost first. */
async function layerTrees(fixture: TransferFixture, image: BuiltImage): Promise<TreeEntry[][]> {
  const top = chainIds(image.layers.map(({ diffId }) => diffId)).at(-1);
  return Promise.all((await fixture.rootsOf(top!)).map((root) => readTree(root)));
}

/** Undefined when the pull is refused. */
async function pulledTrees(fixture: TransferFixture, image: BuiltImage): Promise<TreeEntry[][] | undefined> {
  publish(fixture.remote.storage, 'sample', 'latest', image);
  try {
    await fixture.pull();
  } catch {
    return undefined;
  }
  return layerTrees(fixture, image);
}

/** Whiteouts, and directories that no entry names, have the time of their making. */
const timeless = (entry: TreeEntry): TreeEntry =>
  entry.kind === 'directory' || entry.kind === 'character' ? { ...entry, modifiedNs: 0n } : entry;

async function assertSame(layers: readonly FileTree[]): Promise<void> {
  await using together = await TransferFixture.make(overlayfs);
  await using apart = await TransferFixture.make({ ...overlayfs, isSequential: true });
  const image = imageOf(layers);
  const [actual, expected] = [await pulledTrees(together, image), await pulledTrees(apart, image)];
  assert.equal(actual?.length, expected?.length);
  for (const [index, tree] of (expected ?? []).entries())
    assert.deepEqual(
      diffTrees(tree.map(timeless), actual![index]!.map(timeless)),
      [],
      `layer ${index} from the top`,
    );
}

const name = fc.constantFrom('a', 'b', 'c', 'a/b', 'a/c', 'b/a', 'a/b/c', 'b/a/c');
const node: fc.Arbitrary<TreeNode> = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.record({
    content: fc.string({ maxLength: 5 }),
    mode: fc.constantFrom(0o644, 0o4755, 0o600),
    uid: fc.nat(3),
  }),
  name.map((link) => ({ kind: 'hardlink' as const, link })),
  name.map((link) => ({ kind: 'symlink' as const, link: `/${link}` })),
  fc.constant({ kind: 'fifo' as const }),
);
const directory: fc.Arbitrary<TreeNode> = fc.record({
  mode: fc.constantFrom(0o755, 0o700, 0o1777),
  gid: fc.nat(3),
  modifiedAt: fc.nat(1000).map((seconds) => instantOfMs(seconds * 1000)),
});
const member = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(name, node) },
  {
    weight: 3,
    arbitrary: fc.tuple(
      name.map((path) => `${path}/`),
      directory,
    ),
  },
  { weight: 1, arbitrary: fc.tuple(fc.constant('./'), directory) },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.constantFrom('.wh.a', '.wh.b', 'a/.wh.b', 'a/.wh..wh..opq', 'a/b/.wh.c', 'b/.wh..wh..opq'),
      fc.constant<TreeNode>(''),
    ),
  },
);
const layer: fc.Arbitrary<FileTree> = fc
  .array(member, { minLength: 1, maxLength: 6 })
  .map((members) => Object.fromEntries(members));

void describe('side by side', { skip: needsLinux('overlayfs is mounted') }, () => {
  void it('links, whiteouts and parents of lower layers', () =>
    assertSame([
      {
        './': { mode: 0o711, uid: 1 },
        'dir/': { mode: 0o1777, gid: 2 },
        'dir/file': 'one',
        'way/': {},
        'way/x': 'x',
      },
      { 'dir/link': { kind: 'hardlink', link: 'dir/file' }, 'dir/new': 'in a directory that is not named' },
      { way: { kind: 'symlink', link: '/dir' }, 'dir/.wh.new': '' },
      { 'way/through': 'a symlink of the layer below', 'dir/again': { kind: 'hardlink', link: 'dir/link' } },
    ]));

  void it('any layers', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 2, maxLength: 4 }), (layers) => assertSame(layers)),
      { numRuns: Number(process.env['GANTRY_FUZZ_RUNS'] ?? 12) },
    );
  });

  void it('an upper layer that has to know waits for the lower one, however late that comes', async () => {
    await using fixture = await TransferFixture.make(overlayfs);
    const image = imageOf([
      { 'dir/': { mode: 0o750 }, 'dir/file': noise(100_000, 1) },
      { 'dir/link': { kind: 'hardlink', link: 'dir/file' } },
      { './': { mode: 0o755 }, other: 'file' },
    ]);
    publish(fixture.remote.storage, 'sample', 'latest', image);
    const [bottom, , top] = image.layers.map(({ descriptor }) => descriptor);
    const effect = { kind: 'hold' as const, afterBytes: 1000, reached: deferred(), release: deferred() };
    fixture.remote.faults.add({ path: bottom!.digest, effect });
    const topDone = fixture.reported('extracted', top!);
    const pulling = fixture.pull();
    // The uppermost has nothing to do with those below: it is complete while the lowest has hardly begun.
    await topDone;
    assert.deepEqual(
      (await fixture.snapshots()).filter(({ kind }) => kind === 'committed'),
      [],
    );
    effect.release.resolve();
    await pulling;
    const [, middle] = await layerTrees(fixture, image);
    const found = new Map(middle?.map((entry) => [entry.path, entry]));
    assert.equal(found.get('dir')?.mode, 0o750);
    assert.equal(found.get('dir/link')?.linkedTo, 'dir/file');
  });

  void it('what is complete below a layer that fails is kept, and nothing else', async () => {
    await using fixture = await TransferFixture.make(overlayfs);
    const damaged = { ...buildLayer({ file: 'x' }), diffId: buildLayer({ file: 'y' }).diffId };
    const image = buildImage([buildLayer({ a: 'a' }), damaged, buildLayer({ c: 'c' })], {
      platform: hostPlatform(),
    });
    publish(fixture.remote.storage, 'sample', 'latest', image);
    await assert.rejects(fixture.pull(), { code: 'FailedPrecondition', message: /wrong diff id/ });
    await fixture.assertNothingLeft(image.layers.map(({ descriptor }) => descriptor));
    const chain = chainIds(image.layers.map(({ diffId }) => diffId));
    const kept = (await fixture.snapshots()).map(({ key }) => key as string);
    assert.ok(
      kept.every((key) => key === chain[0]),
      kept.join(),
    );
  });
});
