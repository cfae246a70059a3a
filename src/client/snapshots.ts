/** Snapshots of one snapshotter: file systems as layers on parents. */
import type { Labels } from '../base/labels.ts';
import type { Instant } from '../base/time.ts';
import type { SnapshotKind, SnapshotUsage } from '../core/snapshots/snapshotter.ts';
import type { Mount } from '../platform/mount.ts';
import { mountFromWire } from '../wire/convert.ts';
import { type Info, Kind, Snapshots } from '../wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import { knownInstantOf } from './convert.ts';
import type { Call, Scope } from './scope.ts';

export interface SnapshotRecord {
  readonly key: string;
  /** "" for none. */
  readonly parent: string;
  readonly kind: SnapshotKind;
  readonly labels: Labels;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
}

const kinds: Readonly<Record<number, SnapshotKind>> = {
  [Kind.VIEW]: 'view',
  [Kind.ACTIVE]: 'active',
  [Kind.COMMITTED]: 'committed',
};

const recordOf = (info: Info): SnapshotRecord => ({
  key: info.name,
  parent: info.parent,
  kind: kinds[info.kind] ?? 'active',
  labels: info.labels,
  createdAt: knownInstantOf(info.createdAt),
  updatedAt: knownInstantOf(info.updatedAt),
});

export class SnapshotsClient {
  readonly #scope: Scope;
  /** The snapshotter's name: `overlayfs`, `native`, … */
  readonly snapshotter: string;

  constructor(scope: Scope, { snapshotter }: { snapshotter: string }) {
    this.#scope = scope;
    this.snapshotter = snapshotter;
  }

  /** Errors: NotFound. */
  async stat(key: string, call?: Call): Promise<SnapshotRecord> {
    const { info } = await this.#client().stat(this.#request(key), this.#scope.options(call));
    return recordOf(info as Info);
  }

  async *list(filters: readonly string[] = [], call?: Call): AsyncGenerator<SnapshotRecord, void> {
    const { snapshotter } = this;
    const blocks = this.#client().list({ snapshotter, filters: [...filters] }, this.#scope.options(call));
    for await (const { info } of blocks) for (const each of info) yield recordOf(each);
  }

  /** A writable snapshot on committed `parent`. Errors: AlreadyExists, NotFound, InvalidArgument. */
  async prepare(
    key: string,
    { parent = '', labels = {}, ...call }: Call & { parent?: string; labels?: Labels } = {},
  ): Promise<Mount[]> {
    const request = { ...this.#request(key), parent, labels: { ...labels } };
    return (await this.#client().prepare(request, this.#scope.options(call))).mounts.map(mountFromWire);
  }

  /** A read-only one. Errors: AlreadyExists, NotFound, InvalidArgument. */
  async view(
    key: string,
    { parent = '', labels = {}, ...call }: Call & { parent?: string; labels?: Labels } = {},
  ): Promise<Mount[]> {
    const request = { ...this.#request(key), parent, labels: { ...labels } };
    return (await this.#client().view(request, this.#scope.options(call))).mounts.map(mountFromWire);
  }

  /** Mounts of an active or view snapshot. Errors: NotFound, FailedPrecondition. */
  async mounts(key: string, call?: Call): Promise<Mount[]> {
    return (await this.#client().mounts(this.#request(key), this.#scope.options(call))).mounts.map(
      mountFromWire,
    );
  }

  /** Makes active `key` the committed snapshot `name`. Errors: AlreadyExists, NotFound, FailedPrecondition. */
  async commit(
    name: string,
    key: string,
    { labels = {}, ...call }: Call & { labels?: Labels } = {},
  ): Promise<void> {
    const request = { ...this.#request(key), name, labels: { ...labels } };
    await this.#client().commit(request, this.#scope.options(call));
  }

  /** Errors: NotFound, FailedPrecondition while others stand on it. */
  async remove(key: string, call?: Call): Promise<void> {
    await this.#client().remove(this.#request(key), this.#scope.options(call));
  }

  /** Of its own layer, without the parents'. */
  async usage(key: string, call?: Call): Promise<SnapshotUsage> {
    const { size, inodes } = await this.#client().usage(this.#request(key), this.#scope.options(call));
    return { sizeBytes: Number(size), inodes: Number(inodes) };
  }

  #client() {
    return this.#scope.client(Snapshots);
  }

  #request(key: string) {
    return { snapshotter: this.snapshotter, key };
  }
}
