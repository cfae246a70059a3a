/** containerd.services.containers.v1 */
import { create } from '@bufbuild/protobuf';
import type { AnyValue } from '../base/any-value.ts';
import { type Context, requireNamespace } from '../base/context.ts';
import { type ContainerdError, invalidArgument, wrap } from '../base/errors.ts';
import { type ContainerId, parseContainerId } from '../base/identifiers.ts';
import {
  type Container,
  type ContainerStore,
  containerNotFound,
  type NewContainer,
} from '../core/containers/container-store.ts';
import { anyFromWire } from '../wire/any.ts';
import {
  ContainerSchema,
  Containers,
  type Container as WireContainer,
} from '../wire/gen/containerd/services/containers/v1/containers_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';
import { anyMapToWire, lookup, maskPaths, optionalAny, required } from './convert.ts';

export interface ContainersServiceDependencies {
  readonly containers: ContainerStore;
}

/** With the words before the reason that containerd's clients show. */
function idOfNew(id: string): ContainerId {
  try {
    return parseContainerId(id);
  } catch (error) {
    throw wrap('create container failed validation: container.ID', error);
  }
}

/** Errors: InvalidArgument, NotFound. */
function idOfOld(id: string): ContainerId {
  if (id === '') throw invalidArgument('Container.ID required');
  return lookup('container', parseContainerId, id);
}

const absentIn =
  (ctx: Context) =>
  (id: string): ContainerdError =>
    containerNotFound(requireNamespace(ctx).namespace, id);

function fromWire(container: WireContainer | undefined, idOf: (id: string) => ContainerId): NewContainer {
  const given = required(container, 'container');
  return {
    id: idOf(given.id),
    labels: given.labels,
    image: given.image,
    runtime: { name: given.runtime?.name ?? '', options: anyFromWire(given.runtime?.options) },
    spec: anyFromWire(given.spec),
    snapshotter: given.snapshotter,
    snapshotKey: given.snapshotKey,
    extensions: Object.fromEntries(
      Object.entries(given.extensions).map(([name, any]): [string, AnyValue] => [
        name,
        { typeUrl: any.typeUrl, value: any.value },
      ]),
    ),
    sandbox: given.sandbox,
  };
}

const toWire = (container: Container): WireContainer =>
  create(ContainerSchema, {
    id: container.id,
    labels: { ...container.labels },
    image: container.image,
    runtime: { name: container.runtime.name, ...optionalAny('options', container.runtime.options) },
    ...optionalAny('spec', container.spec),
    snapshotter: container.snapshotter,
    snapshotKey: container.snapshotKey,
    createdAt: timestampOf(container.createdAt),
    updatedAt: timestampOf(container.updatedAt),
    extensions: anyMapToWire(container.extensions),
    sandbox: container.sandbox,
  });

export const containersService = ({ containers }: ContainersServiceDependencies): ServedService =>
  serve(Containers, {
    get: async (ctx, { id }) => ({
      container: toWire(
        await containers.get(requireNamespace(ctx), lookup(absentIn(ctx), parseContainerId, id)),
      ),
    }),
    list: async (ctx, { filters }) => ({
      containers: (await containers.list(requireNamespace(ctx), filters)).map(toWire),
    }),
    async *listStream(ctx, { filters }) {
      for (const container of await containers.list(requireNamespace(ctx), filters))
        yield { container: toWire(container) };
    },
    create: async (ctx, { container }) => ({
      container: toWire(await containers.create(requireNamespace(ctx), fromWire(container, idOfNew))),
    }),
    update: async (ctx, { container, updateMask }) => ({
      container: toWire(
        await containers.update(requireNamespace(ctx), fromWire(container, idOfOld), maskPaths(updateMask)),
      ),
    }),
    delete: async (ctx, { id }) => {
      await containers.delete(requireNamespace(ctx), lookup(absentIn(ctx), parseContainerId, id));
      return {};
    },
  });
