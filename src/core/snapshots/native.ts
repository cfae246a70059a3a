/**
 * The snapshotter `native`: every snapshot is a whole copy of its parent. Slow and large, but it needs nothing of
 * the kernel, so it runs wherever Node runs.
 *
 *     <root>/snapshots/<id>   the tree
 *
 * A view without changes needs no copy: it shows its parent, read-only, as containerd does.
 */
import type { Mount } from '../../platform/mount.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { copyTree } from './copy-tree.ts';
import {
  DirectorySnapshotter,
  type FillRequest,
  type Layout,
  type SnapshotterDependencies,
  type SnapshotterOptions,
} from './directory-snapshotter.ts';
import { takeAfter } from './snapshot-directories.ts';
import type { SnapshotInfo } from './snapshotter.ts';

class NativeLayout implements Layout {
  readonly name = 'native';
  readonly capabilities = [];
  readonly directoryMode = 0o755;
  readonly #files: FileOperations;

  constructor(files: FileOperations) {
    this.#files = files;
  }

  async fill(directory: string, { kind, parent }: FillRequest, signal: AbortSignal): Promise<void> {
    if (parent === undefined) takeAfter(directory, undefined);
    else if (kind === 'active') await copyTree(this.#files, parent, directory, { signal });
  }

  layerOf(directory: string): string {
    return directory;
  }

  parts(): readonly string[] {
    return ['.'];
  }

  mounts({ kind }: Pick<SnapshotInfo, 'kind'>, directory: string, parents: readonly string[]): Mount[] {
    const isView = kind !== 'active';
    const source = isView ? (parents[0] ?? directory) : directory;
    return [{ type: 'bind', source, target: '', options: ['rbind', isView ? 'ro' : 'rw'] }];
  }
}

export class NativeSnapshotter extends DirectorySnapshotter {
  constructor({ records, platform, log }: SnapshotterDependencies, options: SnapshotterOptions) {
    super({ records, log, files: platform.files }, new NativeLayout(platform.files), options);
  }
}
