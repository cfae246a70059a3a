/**
 * ImageFsInfo: what images and containers take on disk, by snapshotter, the default one first (the kubelet reads no
 * further). Of images counts all that is committed, of containers what they write.
 *
 * Differs from containerd, which leaves the file systems of containers out and counts what they write as images.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Context, NamespacedContext } from '../base/context.ts';
import { hasCode } from '../base/errors.ts';
import { now } from '../base/time.ts';
import type { SnapshotInfo, Snapshotter, SnapshotUsage } from '../core/snapshots/snapshotter.ts';
import type { FilesystemUsageSchema } from '../wire/gen/runtime/v1/common_pb.js';
import type { ImageFsInfoResponseSchema } from '../wire/gen/runtime/v1/image_pb.js';
import { inCri } from './cri-context.ts';

/** A snapshotter that the CRI uses, and where it keeps its files. */
export interface UsedSnapshotter {
  readonly snapshotter: Snapshotter;
  readonly root: string;
}

export interface ImageFsInfoOptions {
  /** The default one first. */
  readonly snapshotters: readonly UsedSnapshotter[];
  /** How old a measure of what is being written to may be: it costs a walk over the directory. */
  readonly walkEveryMs: number;
}

type WireUsage = MessageInitShape<typeof FilesystemUsageSchema>;

const nothing: SnapshotUsage = { sizeBytes: 0, inodes: 0 };
const sum = (a: SnapshotUsage, b: SnapshotUsage): SnapshotUsage => ({
  sizeBytes: a.sizeBytes + b.sizeBytes,
  inodes: a.inodes + b.inodes,
});

export class ImageFsInfo {
  readonly #options: ImageFsInfoOptions;
  /** By snapshotter and key; committed ones do not change. */
  readonly #measured = new Map<string, { readonly usage: SnapshotUsage; readonly untilMs: number }>();

  constructor(options: ImageFsInfoOptions) {
    this.#options = options;
  }

  async tell(context: Context): Promise<MessageInitShape<typeof ImageFsInfoResponseSchema>> {
    const ctx = inCri(context);
    const imageFilesystems: WireUsage[] = [];
    const containerFilesystems: WireUsage[] = [];
    const seen = new Set<string>();
    for (const used of this.#options.snapshotters) {
      const { layers, written } = await this.#usage(ctx, used.snapshotter, seen);
      imageFilesystems.push(usageToWire(used, layers));
      containerFilesystems.push(usageToWire(used, written));
    }
    for (const key of this.#measured.keys()) if (!seen.has(key)) this.#measured.delete(key);
    return { imageFilesystems, containerFilesystems };
  }

  async #usage(
    ctx: NamespacedContext,
    snapshotter: Snapshotter,
    seen: Set<string>,
  ): Promise<{ layers: SnapshotUsage; written: SnapshotUsage }> {
    let [layers, written] = [nothing, nothing];
    for await (const info of snapshotter.list(ctx, [])) {
      const key = `${snapshotter.name} ${info.kind} ${info.key}`;
      seen.add(key);
      const usage = await this.#measure(ctx, snapshotter, info, key);
      if (info.kind === 'active') written = sum(written, usage);
      else layers = sum(layers, usage);
    }
    return { layers, written };
  }

  async #measure(
    ctx: NamespacedContext,
    snapshotter: Snapshotter,
    { key, kind }: SnapshotInfo,
    name: string,
  ): Promise<SnapshotUsage> {
    const measured = this.#measured.get(name);
    if (measured !== undefined && performance.now() < measured.untilMs) return measured.usage;
    try {
      const usage = await snapshotter.usage(ctx, key);
      const untilMs =
        kind === 'committed' ? Number.POSITIVE_INFINITY : performance.now() + this.#options.walkEveryMs;
      this.#measured.set(name, { usage, untilMs });
      return usage;
    } catch (error) {
      // Removed since it was listed.
      if (hasCode(error, 'NotFound')) return nothing;
      throw error;
    }
  }
}

const usageToWire = ({ root }: UsedSnapshotter, { sizeBytes, inodes }: SnapshotUsage): WireUsage => ({
  timestamp: now(),
  fsId: { mountpoint: root },
  usedBytes: { value: BigInt(sizeBytes) },
  inodesUsed: { value: BigInt(inodes) },
});
