/**
 * What snapshotters that keep each snapshot in a directory have in common: records, directories, usage, removal.
 * A layout (overlayfs.ts, native.ts) says what is in a directory and how it is mounted.
 *
 * Safe against kill -9 at any line: directories come before their record and go after it (snapshot-directories.ts).
 * Safe against a power cut: the tree is synced before a commit is recorded (docs/decisions/0090). An active snapshot is
 * not, as no program's unsynced writes are: what is lost of its directories is made anew at the start.
 * Removal frees the key at once and the disk with the next clean-up, unless `syncRemove` is set.
 */
import type { Context } from '../../base/context.ts';
import { checkSignal } from '../../base/context.ts';
import { failedPrecondition, invalidArgument, notFound } from '../../base/errors.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import { type Labels, withoutEmptyLabels } from '../../base/labels.ts';
import type { Logger } from '../../base/logger.ts';
import type { Mount } from '../../platform/mount.ts';
import type { FileOperations, Platform } from '../../platform/platform.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import { diskUsage } from './disk-usage.ts';
import { FileSystemSync } from './file-system-sync.ts';
import { SnapshotDirectories } from './snapshot-directories.ts';
import type { InspectableSnapshotter, SnapshotterInspection } from './snapshot-inspection.ts';
import type { SnapshotRecord, SnapshotRecords } from './snapshot-records.ts';
import type {
  CommitOptions,
  PrepareOptions,
  SnapshotInfo,
  SnapshotKind,
  SnapshotUsage,
} from './snapshotter.ts';

export interface SnapshotterDependencies {
  readonly records: SnapshotRecords;
  readonly platform: Platform;
  readonly log: Logger;
}

export interface SnapshotterOptions {
  /** Directory of this back end; made when absent. */
  readonly root: string;
  /** Removal waits until the disk space is free. */
  readonly syncRemove?: boolean;
  /** A commit waits until its tree is on disk; true when absent. Without it a power cut may empty committed layers. */
  readonly syncCommit?: boolean;
}

export interface FillRequest {
  readonly kind: Exclude<SnapshotKind, 'committed'>;
  /** The nearest parent's directory. */
  readonly parent: string | undefined;
  readonly labels: Labels;
}

export interface Layout {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly directoryMode: number;
  /** Fills a fresh directory. Errors: InvalidArgument (labels). */
  fill(directory: string, request: FillRequest, signal: AbortSignal): Promise<void>;
  /** Of the snapshot's own layer, in its directory. */
  layerOf(directory: string): string;
  /** Directories that a snapshot consists of, relative to its own; the whole stands first. */
  parts(kind: SnapshotKind): readonly string[];
  mounts(
    snapshot: Pick<SnapshotInfo, 'kind' | 'labels'>,
    directory: string,
    parents: readonly string[],
  ): Mount[];
  /** What it tells of a snapshot beside the labels that it was given. */
  readonly addedLabels?: (directory: string) => Labels;
}

const noUsage: SnapshotUsage = { sizeBytes: 0, inodes: 0 };

export class DirectorySnapshotter implements InspectableSnapshotter {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly addedLabels?: (key: SnapshotKey) => Labels;
  readonly #layout: Layout;
  readonly #records: SnapshotRecords;
  readonly #directories: SnapshotDirectories;
  readonly #syncRemove: boolean;
  readonly #sync: FileSystemSync | undefined;

  constructor(
    {
      records,
      log,
      files,
    }: Pick<SnapshotterDependencies, 'records' | 'log'> & {
      readonly files: Pick<FileOperations, 'syncFileSystem' | 'spreadChildren'>;
    },
    layout: Layout,
    { root, syncRemove = false, syncCommit = true }: SnapshotterOptions,
  ) {
    this.name = layout.name;
    this.capabilities = layout.capabilities;
    this.#layout = layout;
    this.#records = records;
    this.#directories = new SnapshotDirectories({ log, files }, root);
    this.#syncRemove = syncRemove;
    this.#sync = syncCommit ? new FileSystemSync({ files }, this.#directories.path) : undefined;
    const { addedLabels } = layout;
    if (addedLabels === undefined) return;
    this.addedLabels = (key) => {
      const record = records.read((all) => all.get(key));
      return record === undefined ? {} : addedLabels(this.#directories.of(record.id));
    };
  }

  async stat(_ctx: Context, key: SnapshotKey): Promise<SnapshotInfo> {
    return this.#infoOf(this.#require(key));
  }

  async update(
    _ctx: Context,
    info: { key: SnapshotKey; labels: Labels },
    paths: readonly string[],
  ): Promise<SnapshotInfo> {
    return this.#records.write((records) => {
      const record = records.get(info.key);
      if (record === undefined) throw notFound('snapshot', info.key);
      return this.#infoOf(records.setLabels(info.key, mergeLabels(record.labels, info.labels, paths)));
    });
  }

  async usage(ctx: Context, key: SnapshotKey): Promise<SnapshotUsage> {
    const record = this.#require(key);
    if (record.kind === 'view') return noUsage;
    if (record.kind === 'active') return this.#measure(ctx, record);
    const known = this.#records.read((records) => records.usage(key));
    if (known !== undefined) return known;
    // A committed tree does not change, so it is measured when first asked about and not on the way of a commit.
    const usage = await this.#measure(ctx, record);
    await this.#records.write((records) => records.setUsage(record.id, usage));
    return usage;
  }

  async mounts(_ctx: Context, key: SnapshotKey): Promise<Mount[]> {
    const record = this.#require(key);
    if (record.kind === 'committed')
      throw failedPrecondition(`requested snapshot ${JSON.stringify(key)} is not active or a view`);
    return this.#mountsOf(record);
  }

  async prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#make(ctx, 'active', key, options);
  }

  async view(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#make(ctx, 'view', key, options);
  }

  async commit(
    _ctx: Context,
    name: SnapshotKey,
    key: SnapshotKey,
    { parent, labels = {}, isSynced = false }: CommitOptions,
  ): Promise<void> {
    if (parent !== undefined && !this.capabilities.includes('rebase'))
      checkSameParent(this.name, this.#require(key), parent);
    const record = this.#require(key);
    if (record.kind === 'active' && !isSynced) await this.#sync?.sync();
    await this.#records.write((records) => records.commit(name, key, parent, labels));
  }

  async sync(_ctx: Context): Promise<void> {
    await this.#sync?.sync();
  }

  async remove(_ctx: Context, key: SnapshotKey): Promise<void> {
    const { id } = await this.#records.write((records) => records.remove(key));
    this.#directories.discard(id);
    if (this.#syncRemove) await this.#sweep();
  }

  async *list(ctx: Context, filters: readonly string[]): AsyncGenerator<SnapshotInfo, void> {
    const passes = parseFilters(filters);
    // Copied first: a write may not fall into an open read.
    const infos = this.#records.read((records) =>
      Array.from(records.list(), (record) => this.#infoOf(record)),
    );
    for (const info of infos) {
      checkSignal(ctx.signal);
      if (passes((path) => fieldOf(info, path))) yield info;
    }
  }

  async cleanup(_ctx: Context): Promise<void> {
    await this.#sweep();
  }

  inspect(): SnapshotterInspection {
    const records = this.#records.read((all) => [...all.list()]);
    return {
      snapshots: records.map((record) => ({
        record,
        directory: this.#directories.of(record.id),
        missing: this.#missing(record),
      })),
      leftovers: this.#directories.leftovers(new Set(records.map(({ id }) => id))),
      databaseProblems: this.#records.problems(),
    };
  }

  async restoreDirectories(ctx: Context): Promise<SnapshotRecord[]> {
    const restored: SnapshotRecord[] = [];
    for (const record of this.#records.read((all) => [...all.list()])) {
      if (record.kind === 'committed' || this.#missing(record).length === 0) continue;
      try {
        await this.#restore(ctx, record);
        restored.push(record);
      } catch (error) {
        ctx.log.warn({ key: record.key, err: error }, 'cannot make the lost directory of a snapshot anew');
      }
    }
    return restored;
  }

  #missing({ id, kind }: SnapshotRecord): string[] {
    const missing = this.#directories.missing(id, this.#layout.parts(kind));
    return missing.includes('.') ? ['.'] : missing;
  }

  /** Only what is missing: what was saved of the snapshot's own layer is its user's. */
  async #restore(ctx: Context, record: SnapshotRecord): Promise<void> {
    const [parentId] = record.parentIds;
    const parent = parentId === undefined ? undefined : this.#directories.of(parentId);
    using staged = this.#directories.stage(this.#layout.directoryMode);
    const kind = record.kind === 'view' ? 'view' : 'active';
    await this.#layout.fill(staged.path, { kind, parent, labels: record.labels }, ctx.signal);
    for (const part of this.#missing(record)) this.#directories.restore(record.id, part, staged);
  }

  #require(key: SnapshotKey): SnapshotRecord {
    const record = this.#records.read((records) => records.get(key));
    if (record === undefined) throw notFound('snapshot', key);
    return record;
  }

  #measure({ signal }: Context, { id }: SnapshotRecord): Promise<SnapshotUsage> {
    return diskUsage(this.#layout.layerOf(this.#directories.of(id)), { signal });
  }

  #infoOf(record: SnapshotRecord): SnapshotInfo {
    const added = this.#layout.addedLabels?.(this.#directories.of(record.id));
    return added === undefined
      ? infoOf(record)
      : { ...infoOf(record), labels: { ...record.labels, ...added } };
  }

  #mountsOf(record: SnapshotRecord): Mount[] {
    return this.#layout.mounts(
      record,
      this.#directories.of(record.id),
      record.parentIds.map((parentId) => this.#directories.of(parentId)),
    );
  }

  async #make(
    ctx: Context,
    kind: 'active' | 'view',
    key: SnapshotKey,
    { parent, labels = {} }: PrepareOptions,
  ): Promise<Mount[]> {
    // Asked before the work of filling; the transaction asks again.
    const parentRecord = parent === undefined ? undefined : this.#require(parent);
    if (parentRecord !== undefined && parentRecord.kind !== 'committed')
      throw invalidArgument(`parent ${JSON.stringify(parent)} is not a committed snapshot`);
    const parentDirectory = parentRecord === undefined ? undefined : this.#directories.of(parentRecord.id);
    using staged = this.#directories.stage(this.#layout.directoryMode);
    await this.#layout.fill(staged.path, { kind, parent: parentDirectory, labels }, ctx.signal);
    checkSignal(ctx.signal);
    const record = await this.#records.write((records) => {
      const created = records.create(kind, key, parent, withoutEmptyLabels(labels));
      staged.adopt(created.id);
      return created;
    });
    return this.#mountsOf(record);
  }

  #sweep(): Promise<void> {
    return this.#directories.sweep(() => this.#records.read((records) => records.ids()));
  }
}

/** Without rebase a parent at commit may only repeat what is so already. */
function checkSameParent(name: string, record: SnapshotRecord, parent: SnapshotKey): void {
  if (record.parent !== parent) throw failedPrecondition(`snapshotter ${name} cannot rebase a snapshot`);
}

const infoOf = ({ key, parent, kind, labels, createdAt, updatedAt }: SnapshotRecord): SnapshotInfo => ({
  key,
  parent,
  kind,
  labels,
  createdAt,
  updatedAt,
});

function fieldOf(info: SnapshotInfo, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'kind':
      return info.kind;
    case 'name':
      return info.key;
    case 'parent':
      return info.parent ?? '';
    case 'labels':
      return mapField(info.labels, path);
    default:
      return undefined;
  }
}

/** Errors: InvalidArgument for a path that is no label. */
function mergeLabels(before: Labels, given: Labels, paths: readonly string[]): Labels {
  if (paths.length === 0) return withoutEmptyLabels(given);
  let labels: Record<string, string> = { ...before };
  for (const path of paths) {
    if (path === 'labels') labels = { ...given };
    else if (path.startsWith('labels.')) {
      const key = path.slice('labels.'.length);
      labels[key] = given[key] ?? '';
    } else throw invalidArgument(`cannot update ${JSON.stringify(path)} field on snapshot`);
  }
  return withoutEmptyLabels(labels);
}
