/** Container records: what a task is made from. */
import type { AnyValue } from '../base/any-value.ts';
import { dataLoss } from '../base/errors.ts';
import type { Labels } from '../base/labels.ts';
import type { Instant } from '../base/time.ts';
import { anyFromWire, anyToWire, jsonTypeUrls, packJson, unpackJson } from '../wire/any.ts';
import {
  Containers,
  type Container as WireContainer,
} from '../wire/gen/containerd/services/containers/v1/containers_pb.js';
import { knownInstantOf } from './convert.ts';
import type { Call, Scope } from './scope.ts';

export interface ContainerRecord {
  readonly id: string;
  readonly labels: Labels;
  readonly image: string;
  readonly runtime: { readonly name: string; readonly options: AnyValue | undefined };
  readonly spec: AnyValue | undefined;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  readonly extensions: Readonly<Record<string, AnyValue>>;
  readonly sandbox: string;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
}

export interface NewContainerRecord {
  readonly id: string;
  /** The OCI runtime spec as a plain value. */
  readonly spec: unknown;
  readonly image?: string;
  readonly labels?: Labels;
  /** `io.containerd.runc.v2` by default. */
  readonly runtime?: { readonly name: string; readonly options?: AnyValue };
  readonly snapshotter?: string;
  readonly snapshotKey?: string;
  readonly extensions?: Readonly<Record<string, AnyValue>>;
  readonly sandbox?: string;
}

export const defaultRuntime = 'io.containerd.runc.v2';

export class ContainersClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** Errors: NotFound. */
  async get(id: string, call?: Call): Promise<ContainerRecord> {
    const { container } = await this.#client().get({ id }, this.#scope.options(call));
    return recordOf(container, id);
  }

  /** Filters over id, runtime.name, image and labels; they are or-ed. */
  async list(filters: readonly string[] = [], call?: Call): Promise<ContainerRecord[]> {
    const request = { filters: [...filters] };
    const { containers } = await this.#client().list(request, this.#scope.options(call));
    return containers.map((container) => recordOf(container, container.id));
  }

  /** Only the record; a task is made of it by `tasks.create`. Errors: AlreadyExists, InvalidArgument. */
  async create(container: NewContainerRecord, call?: Call): Promise<ContainerRecord> {
    const { id, image = '', labels, snapshotter = '', snapshotKey = '', sandbox = '' } = container;
    const { name = defaultRuntime, options } = container.runtime ?? {};
    const extensions = Object.entries(container.extensions ?? {});
    const wire = {
      id,
      image,
      labels: { ...labels },
      runtime: { name, ...(options === undefined ? {} : { options: anyToWire(options) }) },
      spec: anyToWire(packJson(jsonTypeUrls.spec, container.spec)),
      snapshotter,
      snapshotKey,
      sandbox,
      extensions: Object.fromEntries(extensions.map(([key, value]) => [key, anyToWire(value)])),
    };
    const answer = await this.#client().create({ container: wire }, this.#scope.options(call));
    return recordOf(answer.container, id);
  }

  /** Sets labels; one set to "" goes away, others stay. Errors: NotFound. */
  async setLabels(id: string, labels: Labels, call?: Call): Promise<ContainerRecord> {
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    const request = { container: { id, labels: { ...labels } }, updateMask: { paths } };
    const answer = await this.#client().update(request, this.#scope.options(call));
    return recordOf(answer.container, id);
  }

  /** Only the record: delete its task first, and its snapshot after. Errors: NotFound. */
  async remove(id: string, call?: Call): Promise<void> {
    await this.#client().delete({ id }, this.#scope.options(call));
  }

  #client() {
    return this.#scope.client(Containers);
  }
}

/** The OCI runtime spec of a container. Errors: DataLoss when it has none, InvalidArgument when it is no JSON. */
export function specOf(container: ContainerRecord): unknown {
  if (container.spec === undefined) throw dataLoss(`container ${container.id} has no runtime spec`);
  return unpackJson(jsonTypeUrls.spec, container.spec);
}

function recordOf(wire: WireContainer | undefined, id: string): ContainerRecord {
  if (wire === undefined) throw dataLoss(`the daemon answered without container ${JSON.stringify(id)}`);
  const extensions = Object.entries(wire.extensions);
  return {
    id: wire.id,
    labels: wire.labels,
    image: wire.image,
    runtime: { name: wire.runtime?.name ?? '', options: anyFromWire(wire.runtime?.options) },
    spec: anyFromWire(wire.spec),
    snapshotter: wire.snapshotter,
    snapshotKey: wire.snapshotKey,
    extensions: Object.fromEntries(extensions.map(([key, { typeUrl, value }]) => [key, { typeUrl, value }])),
    sandbox: wire.sandbox,
    createdAt: knownInstantOf(wire.createdAt),
    updatedAt: knownInstantOf(wire.updatedAt),
  };
}
