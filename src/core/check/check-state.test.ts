import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { background } from '../../base/context.ts';
import { limits } from '../../base/limits.ts';
import { silentLogger } from '../../base/logger.ts';
import type { MountInfo } from '../../platform/platform.ts';
import { checkState } from './check-state.ts';

const mountAt = (mountPoint: string): MountInfo => ({
  id: 1,
  parentId: 0,
  root: '/',
  mountPoint,
  options: [],
  fileSystemType: 'overlay',
  source: 'overlay',
  superOptions: [],
});

test('bundles that no task has and mounts below none are told; young ones and living ones are not', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-state-'));
  try {
    for (const id of ['lives', 'left', '.gone.removed'])
      mkdirSync(join(root, 'default', id), { recursive: true });
    const run = async (): Promise<string[]> => {
      const points = ['default/lives/rootfs', 'default/left/rootfs', 'other/rootfs'].map((path) =>
        join(root, path),
      );
      const deps = {
        mounts: { list: () => [...points, '/elsewhere'].map(mountAt) },
        hasTask: async (_ctx: unknown, id: string) => id === 'lives',
      };
      const found = await Array.fromAsync(checkState(deps, background(silentLogger), root));
      return found.map(
        ({ finding }) => `${finding.severity} ${finding.kind} ${finding.where.slice(root.length)}`,
      );
    };
    // All are younger than a create may take; only what is mounted where no bundle is cannot be on its way.
    assert.deepEqual(await run(), ['notice mount-dangling /other/rootfs']);
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 2 * limits.checkGraceMs });
    assert.deepEqual((await run()).sort(), [
      'notice bundle-orphan /default/.gone.removed',
      'notice bundle-orphan /default/left',
      'notice mount-dangling /default/left/rootfs',
      'notice mount-dangling /other/rootfs',
    ]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('a machine on which nothing ever ran has no findings', async () => {
  const deps = { mounts: { list: () => [] }, hasTask: async () => false };
  assert.deepEqual(await Array.fromAsync(checkState(deps, background(silentLogger), '/nowhere/at/all')), []);
});
