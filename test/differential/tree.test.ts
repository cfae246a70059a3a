/** A six-layer image unpacked by ours equals the tree unpacked by the peer, entry for entry. */
import assert from 'node:assert/strict';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { diffTrees, readTree, type TreeEntry } from '../../src/testing/tree.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';

async function unpackedTree(
  daemon: Daemon,
  reference: string,
  snapshotter: string,
  flags: readonly string[],
): Promise<TreeEntry[]> {
  const place = await mkdtemp(join(tmpdir(), 'gantry-tree-'));
  await daemon.ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotter, ...flags, reference);
  await daemon.ctr('images', 'mount', '--snapshotter', snapshotter, reference, place);
  try {
    return await readTree(place);
  } finally {
    await daemon.ctr('images', 'unmount', '--rm', '--snapshotter', snapshotter, place);
    await rmdir(place);
  }
}

/**
 * Without the times of directories. A directory that a layer does not name keeps its time with us; containerd touches
 * it where a whiteout or a new entry lies below, and its native snapshotter loses the times of all directories.
 */
const comparable = (entry: TreeEntry): TreeEntry =>
  entry.kind === 'directory' ? { ...entry, modifiedNs: 0n } : entry;

for (const snapshotter of ['overlayfs', 'native'])
  test(`six layers by ${snapshotter} give the peer's tree, unpacked by the client and in the daemon`, async () => {
    await using registry = await startRegistry(['debian']);
    await using ours = await startGantry();
    await using peer = await startPeer();
    const reference = registry.reference('debian');
    const expected = await unpackedTree(peer, reference, snapshotter, ['--local']);
    assert.ok(expected.length > 3000, `the peer's tree has only ${expected.length} entries`);
    for (const flags of [['--local'], []]) {
      const actual = await unpackedTree(ours, reference, snapshotter, flags);
      assert.deepEqual(diffTrees(expected.map(comparable), actual.map(comparable)), [], flags.join(' '));
      await ours.ctr('images', 'rm', '--sync', reference);
    }
  });
