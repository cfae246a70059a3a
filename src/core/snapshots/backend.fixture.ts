/** A back end on a directory of its own, with its records in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../base/logger.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { SnapshotRecordStore } from '../metadata/snapshot-records.ts';
import type { SnapshotterDependencies } from './directory-snapshotter.ts';
import type { OverlayfsOptions } from './overlayfs.ts';
import type { SuiteSubject } from './snapshotter.suite.ts';
import type { Snapshotter } from './snapshotter.ts';

type Make = new (dependencies: SnapshotterDependencies, options: OverlayfsOptions) => Snapshotter;

export async function makeBackend(
  make: Make,
  options: Partial<OverlayfsOptions> = {},
  platform?: Platform,
): Promise<SuiteSubject & { root: string }> {
  const root = mkdtempSync(join(tmpdir(), 'gantry-snapshots-'));
  const records = new SnapshotRecordStore(':memory:');
  return {
    root,
    snapshotter: new make(
      { records, platform: platform ?? (await selectPlatform()), log: silentLogger },
      { root, ...options },
    ),
    [Symbol.asyncDispose]: async () => {
      records[Symbol.dispose]();
      rmSync(root, { recursive: true });
    },
  };
}
