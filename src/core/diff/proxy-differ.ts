/** A differ that another program serves (containerd.services.diff.v1): it reads and writes content by itself. */
import type { NamespacedContext } from '../../base/context.ts';
import { dataLoss } from '../../base/errors.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Mount } from '../../platform/mount.ts';
import { anyToWire } from '../../wire/any.ts';
import { descriptorFromWire, descriptorToWire, mountToWire } from '../../wire/convert.ts';
import { Diff } from '../../wire/gen/containerd/services/diff/v1/diff_pb.js';
import type { Descriptor as WireDescriptor } from '../../wire/gen/containerd/types/descriptor_pb.js';
import type { Client } from '../../wire/service.ts';
import { timestampOf } from '../../wire/timestamps.ts';
import { type RemotePlugin, remoteOptions } from '../plugins/remote-plugin.ts';
import type { ApplyOptions, CompareOptions, Differ } from './differ.ts';

export class ProxyDiffer implements Differ {
  readonly #remote: RemotePlugin;
  readonly #client: Client<typeof Diff>;

  constructor({ remote }: { remote: RemotePlugin }) {
    this.#remote = remote;
    this.#client = remote.client(Diff);
  }

  async apply(
    ctx: NamespacedContext,
    layer: Descriptor,
    mounts: readonly Mount[],
    { syncFileSystem = false, payloads = new Map(), onStarted, onProgress }: ApplyOptions,
  ): Promise<Descriptor> {
    onStarted?.();
    const request = {
      diff: descriptorToWire(layer),
      mounts: mounts.map(mountToWire),
      syncFs: syncFileSystem,
      payloads: Object.fromEntries(Array.from(payloads, ([id, payload]) => [id, anyToWire(payload)])),
    };
    const { applied } = await this.#remote.ask(this.#client.apply(request, remoteOptions(ctx)));
    const descriptor = answered(applied);
    onProgress?.(descriptor.sizeBytes);
    return descriptor;
  }

  async compare(
    ctx: NamespacedContext,
    lower: readonly Mount[],
    upper: readonly Mount[],
    { mediaType = '', ref = '', labels = {}, sourceDateEpoch }: CompareOptions,
  ): Promise<Descriptor> {
    const request = {
      left: lower.map(mountToWire),
      right: upper.map(mountToWire),
      mediaType,
      ref,
      labels: { ...labels },
      ...(sourceDateEpoch !== undefined && { sourceDateEpoch: timestampOf(sourceDateEpoch) }),
    };
    const { diff } = await this.#remote.ask(this.#client.diff(request, remoteOptions(ctx)));
    return answered(diff);
  }
}

function answered(wire: WireDescriptor | undefined): Descriptor {
  if (wire === undefined) throw dataLoss('the differ answered without a descriptor');
  return descriptorFromWire(wire);
}
