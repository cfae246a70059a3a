/**
 * A snapshotter that another program serves (containerd.services.snapshots.v1). It knows the snapshotter by the name
 * that it has here, as containerd asks for it.
 */
import type { Context } from '../../base/context.ts';
import { dataLoss } from '../../base/errors.ts';
import { parseSnapshotKey, type SnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { instantOfNs } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import { countOf, mountFromWire } from '../../wire/convert.ts';
import { type Info, Kind, Snapshots } from '../../wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import type { Client } from '../../wire/service.ts';
import { instantOf } from '../../wire/timestamps.ts';
import { type RemotePlugin, remoteOptions } from '../plugins/remote-plugin.ts';
import type {
  CommitOptions,
  PrepareOptions,
  SnapshotInfo,
  SnapshotKind,
  Snapshotter,
  SnapshotUsage,
} from './snapshotter.ts';

export interface ProxySnapshotterOptions {
  readonly name: string;
  /** As configured: the API does not tell. */
  readonly capabilities: readonly string[];
}

const kinds: Readonly<Record<number, SnapshotKind>> = {
  [Kind.VIEW]: 'view',
  [Kind.ACTIVE]: 'active',
  [Kind.COMMITTED]: 'committed',
};

export class ProxySnapshotter implements Snapshotter {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly isRemote = true;
  readonly #remote: RemotePlugin;
  readonly #client: Client<typeof Snapshots>;

  constructor({ remote }: { remote: RemotePlugin }, { name, capabilities }: ProxySnapshotterOptions) {
    this.#remote = remote;
    this.#client = remote.client(Snapshots);
    this.name = name;
    this.capabilities = capabilities;
  }

  async stat(ctx: Context, key: SnapshotKey): Promise<SnapshotInfo> {
    const { info } = await this.#remote.ask(this.#client.stat(this.#request(key), remoteOptions(ctx)));
    return this.#infoOf(info);
  }

  async update(
    ctx: Context,
    { key, labels }: { key: SnapshotKey; labels: Labels },
    paths: readonly string[],
  ): Promise<SnapshotInfo> {
    const request = {
      snapshotter: this.name,
      info: { name: key, labels: { ...labels } },
      ...(paths.length > 0 && { updateMask: { paths: [...paths] } }),
    };
    const { info } = await this.#remote.ask(this.#client.update(request, remoteOptions(ctx)));
    return this.#infoOf(info);
  }

  async usage(ctx: Context, key: SnapshotKey): Promise<SnapshotUsage> {
    const usage = await this.#remote.ask(this.#client.usage(this.#request(key), remoteOptions(ctx)));
    return { sizeBytes: countOf(usage.size, 'size'), inodes: countOf(usage.inodes, 'inodes') };
  }

  async mounts(ctx: Context, key: SnapshotKey): Promise<Mount[]> {
    const { mounts } = await this.#remote.ask(this.#client.mounts(this.#request(key), remoteOptions(ctx)));
    return mounts.map(mountFromWire);
  }

  async prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    const request = { ...this.#request(key), ...wireOptions(options) };
    const { mounts } = await this.#remote.ask(this.#client.prepare(request, remoteOptions(ctx)));
    return mounts.map(mountFromWire);
  }

  async view(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    const request = { ...this.#request(key), ...wireOptions(options) };
    const { mounts } = await this.#remote.ask(this.#client.view(request, remoteOptions(ctx)));
    return mounts.map(mountFromWire);
  }

  async commit(ctx: Context, name: SnapshotKey, key: SnapshotKey, options: CommitOptions): Promise<void> {
    const request = { ...this.#request(key), ...wireOptions(options), name };
    await this.#remote.ask(this.#client.commit(request, remoteOptions(ctx)));
  }

  async remove(ctx: Context, key: SnapshotKey): Promise<void> {
    await this.#remote.ask(this.#client.remove(this.#request(key), remoteOptions(ctx)));
  }

  async *list(ctx: Context, filters: readonly string[]): AsyncGenerator<SnapshotInfo> {
    const request = { snapshotter: this.name, filters: [...filters] };
    const blocks = this.#remote.follow(this.#client.list(request, remoteOptions(ctx)));
    for await (const { info } of blocks) for (const each of info) yield this.#infoOf(each);
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#remote.ask(this.#client.cleanup({ snapshotter: this.name }, remoteOptions(ctx)));
  }

  #request(key: SnapshotKey): { snapshotter: string; key: string } {
    return { snapshotter: this.name, key };
  }

  #infoOf(info: Info | undefined): SnapshotInfo {
    const kind = kinds[info?.kind ?? Kind.UNKNOWN];
    if (info === undefined || kind === undefined)
      throw dataLoss(`snapshotter ${this.name} tells of a snapshot without saying of which kind it is`);
    return {
      key: parseSnapshotKey(info.name),
      parent: info.parent === '' ? undefined : parseSnapshotKey(info.parent),
      kind,
      labels: info.labels,
      createdAt: instantOf(info.createdAt) ?? instantOfNs(0n),
      updatedAt: instantOf(info.updatedAt) ?? instantOfNs(0n),
    };
  }
}

const wireOptions = ({ parent = '', labels = {} }: { parent?: string; labels?: Labels }) => ({
  parent,
  labels: { ...labels },
});
