/**
 * Contracts of core over the wire, so that their suites run against what clients get: leases, images and events by the
 * services of a server behind a socket.
 */
import type { Context, NamespacedContext } from '../base/context.ts';
import type { Digest } from '../base/digest.ts';
import {
  type ImageName,
  type LeaseId,
  parseImageName,
  parseLeaseId,
  parseNamespace,
} from '../base/identifiers.ts';
import type { Envelope, EventExchange } from '../core/events/event-exchange.ts';
import type { Image, ImageChange, ImageStore, NewImage } from '../core/images/image-store.ts';
import type { Lease, LeaseManager, LeaseResource } from '../core/leases/lease-manager.ts';
import { remoteOptions } from '../core/plugins/remote-plugin.ts';
import { eventsService } from '../services/events.ts';
import { imagesService } from '../services/images.ts';
import { leasesService } from '../services/leases.ts';
import { anyFromWire, anyToWire } from '../wire/any.ts';
import { descriptorFromWire, descriptorToWire } from '../wire/convert.ts';
import { Events } from '../wire/gen/containerd/services/events/v1/events_pb.js';
import { Images, type Image as WireImage } from '../wire/gen/containerd/services/images/v1/images_pb.js';
import { Leases, type Lease as WireLease } from '../wire/gen/containerd/services/leases/v1/leases_pb.js';
import type { Envelope as WireEnvelope } from '../wire/gen/containerd/types/event_pb.js';
import type { Connection, ServedService } from '../wire/service.ts';
import { instantOf, timestampOf } from '../wire/timestamps.ts';
import { remotePlugin } from './remote-plugin.ts';

/** What the servers of these tests always send. */
function sent<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error('the server left out a field');
  return value;
}

const leaseOf = ({ id, createdAt, labels }: WireLease): Lease => ({
  id: parseLeaseId(id),
  createdAt: sent(instantOf(createdAt)),
  labels,
});

class RemoteLeases implements LeaseManager {
  readonly #client;

  constructor(connection: Pick<Connection, 'client'>) {
    this.#client = connection.client(Leases);
  }

  async create(
    ctx: NamespacedContext,
    { id = '', labels }: { id?: LeaseId | ''; labels: Record<string, string> },
  ) {
    const { lease } = await this.#client.create({ id, labels }, remoteOptions(ctx));
    return leaseOf(sent(lease));
  }

  async delete(ctx: NamespacedContext, id: LeaseId, { sync = false }: { sync?: boolean }): Promise<void> {
    await this.#client.delete({ id, sync }, remoteOptions(ctx));
  }

  async list(ctx: NamespacedContext, filters: readonly string[]): Promise<Lease[]> {
    return (await this.#client.list({ filters: [...filters] }, remoteOptions(ctx))).leases.map(leaseOf);
  }

  async addResource(ctx: NamespacedContext, id: LeaseId, resource: LeaseResource): Promise<void> {
    await this.#client.addResource({ id, resource }, remoteOptions(ctx));
  }

  async deleteResource(ctx: NamespacedContext, id: LeaseId, resource: LeaseResource): Promise<void> {
    await this.#client.deleteResource({ id, resource }, remoteOptions(ctx));
  }

  async listResources(ctx: NamespacedContext, id: LeaseId): Promise<LeaseResource[]> {
    const { resources } = await this.#client.listResources({ id }, remoteOptions(ctx));
    return resources.map(({ type, id: resource }) => ({ type, id: resource }));
  }
}

const imageOf = ({ name, target, labels, createdAt, updatedAt }: WireImage): Image => ({
  name: parseImageName(name),
  target: descriptorFromWire(sent(target)),
  labels,
  createdAt: sent(instantOf(createdAt)),
  updatedAt: sent(instantOf(updatedAt)),
});

const epoch = (at: Image['createdAt'] | undefined) =>
  at === undefined ? {} : { sourceDateEpoch: timestampOf(at) };

class RemoteImages implements ImageStore {
  readonly #client;

  constructor(connection: Pick<Connection, 'client'>) {
    this.#client = connection.client(Images);
  }

  async get(ctx: NamespacedContext, name: ImageName): Promise<Image> {
    return imageOf(sent((await this.#client.get({ name }, remoteOptions(ctx))).image));
  }

  async list(ctx: NamespacedContext, filters: readonly string[]): Promise<Image[]> {
    return (await this.#client.list({ filters: [...filters] }, remoteOptions(ctx))).images.map(imageOf);
  }

  async create(ctx: NamespacedContext, { name, target, labels, at }: NewImage): Promise<Image> {
    const image = { name, target: descriptorToWire(target), labels: { ...labels } };
    return imageOf(sent((await this.#client.create({ image, ...epoch(at) }, remoteOptions(ctx))).image));
  }

  async update(
    ctx: NamespacedContext,
    { name, target, labels, annotations = {}, at }: ImageChange,
    paths: readonly string[],
  ): Promise<Image> {
    const image = {
      name,
      labels: { ...labels },
      target: target === undefined ? { annotations: { ...annotations } } : descriptorToWire(target),
    };
    const request = {
      image,
      ...epoch(at),
      ...(paths.length > 0 && { updateMask: { paths: [...paths] } }),
    };
    return imageOf(sent((await this.#client.update(request, remoteOptions(ctx))).image));
  }

  async delete(
    ctx: NamespacedContext,
    name: ImageName,
    { target, sync = false }: { target?: Digest; sync?: boolean },
  ): Promise<void> {
    const request = { name, sync, ...(target !== undefined && { target: { digest: target } }) };
    await this.#client.delete(request, remoteOptions(ctx));
  }
}

const envelopeOf = ({ timestamp, namespace, topic, event }: WireEnvelope): Envelope => ({
  timestamp: sent(instantOf(timestamp)),
  namespace: parseNamespace(namespace),
  topic,
  event: sent(anyFromWire(event)),
});

class RemoteExchange implements EventExchange {
  readonly #client;

  constructor(connection: Pick<Connection, 'client'>) {
    this.#client = connection.client(Events);
  }

  async publish(ctx: Context, topic: string, event: Envelope['event']): Promise<void> {
    await this.#client.publish({ topic, event: anyToWire(event) }, remoteOptions(ctx));
  }

  async forward(ctx: Context, { timestamp, namespace, topic, event }: Envelope): Promise<void> {
    const envelope = { timestamp: timestampOf(timestamp), namespace, topic, event: anyToWire(event) };
    await this.#client.forward({ envelope }, remoteOptions(ctx));
  }

  /** The call is sent at once, and is heard when the other side has it. */
  subscribe(ctx: Context, filters: readonly string[]): AsyncIterable<Envelope> {
    const envelopes = this.#client.subscribe({ filters: [...filters] }, remoteOptions(ctx));
    const stream = envelopes[Symbol.asyncIterator]();
    const first = stream.next();
    first.catch(() => {});
    return (async function* () {
      try {
        for (let step = await first; step.done !== true; step = await stream.next())
          yield envelopeOf(step.value);
      } finally {
        await stream.return?.();
      }
    })();
  }
}

/** A contract served and called over a socket. */
export interface OverTheWire<Contract> extends AsyncDisposable {
  readonly remote: Contract;
}

async function overTheWire<Contract>(
  service: ServedService,
  Remote: new (connection: Pick<Connection, 'client'>) => Contract,
): Promise<OverTheWire<Contract>> {
  const { remote, [Symbol.asyncDispose]: dispose } = await remotePlugin([service]);
  return { remote: new Remote(remote), [Symbol.asyncDispose]: dispose };
}

export const leasesOverTheWire = (leases: LeaseManager): Promise<OverTheWire<LeaseManager>> =>
  overTheWire(leasesService({ leases }), RemoteLeases);

export const imagesOverTheWire = (images: ImageStore): Promise<OverTheWire<ImageStore>> =>
  overTheWire(imagesService({ images }), RemoteImages);

export const eventsOverTheWire = (events: EventExchange): Promise<OverTheWire<EventExchange>> =>
  overTheWire(eventsService({ events }), RemoteExchange);
