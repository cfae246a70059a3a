/**
 * UpdateContainerResources: the running container first, then the stored spec, which a container that is not started yet
 * gets its limits from. When the spec cannot be stored, the container gets its old limits back.
 */
import { create } from '@bufbuild/protobuf';
import { type Context, forCleanup } from '../../base/context.ts';
import { failedPrecondition, invalidArgument } from '../../base/errors.ts';
import { asObject, type JsonObject } from '../../oci/json.ts';
import type { SpecResources } from '../../oci/runtime-spec.ts';
import { jsonTypeUrls, packJson, unpackJson } from '../../wire/any.ts';
import {
  ContainerState,
  LinuxContainerConfigSchema,
  type UpdateContainerResourcesRequest,
} from '../../wire/gen/runtime/v1/container_pb.js';
import { inCri } from '../cri-context.ts';
import { type CriWorld, requireContainer, undoMs } from '../pods/world.ts';
import { containerResources } from '../spec/container-resources.ts';
import { containerExtension, containerRecordToAny, stateOf } from './container.ts';

/** Errors: NotFound, InvalidArgument, FailedPrecondition (it has exited), those of the runtime. */
export async function updateContainer(
  world: CriWorld,
  context: Context,
  { containerId, linux, annotations }: UpdateContainerResourcesRequest,
): Promise<void> {
  if (linux === undefined) throw invalidArgument('resources of Linux must be given');
  const ctx = inCri(context);
  const container = requireContainer(world, containerId);
  const { id } = container;
  using _ = await world.locks.acquire(id, ctx);
  const state = stateOf(container.progress);
  if (state === ContainerState.CONTAINER_EXITED)
    throw failedPrecondition(`container ${id} is in ${ContainerState[state]} state`);
  const wished = containerResources(linux, { host: world.host, settings: world.settings.pods.spec });
  const stored = await world.records.get(ctx, id);
  if (stored.spec === undefined) throw failedPrecondition(`container ${id} has no spec`);
  const spec = asObject(unpackJson(jsonTypeUrls.spec, stored.spec), `spec of container ${id}`);
  const linuxPart = asObject(spec['linux'] ?? {}, `spec of container ${id}`);
  const old = asObject(linuxPart['resources'] ?? {}, `spec of container ${id}`);
  const resources = merged(old, wished);
  const apply = async (target: JsonObject, within = ctx): Promise<void> => {
    if (state === ContainerState.CONTAINER_RUNNING)
      await world.tasks.update(within, id, packJson(jsonTypeUrls.linuxResources, target), annotations);
  };
  const config = {
    ...container.record.config,
    linux: { ...(container.record.config.linux ?? create(LinuxContainerConfigSchema)), resources: linux },
  };
  const record = { ...container.record, config };
  await apply(resources);
  try {
    await world.records.update(
      ctx,
      {
        ...stored,
        spec: packJson(jsonTypeUrls.spec, { ...spec, linux: { ...linuxPart, resources } }),
        extensions: { ...stored.extensions, [containerExtension]: containerRecordToAny(record) },
      },
      ['spec', `extensions.${containerExtension}`],
    );
  } catch (error) {
    await apply(old, forCleanup(ctx, undoMs));
    throw error;
  }
  container.record = record;
}

/** What is not given stays as it is. */
function merged(old: JsonObject, wished: SpecResources): JsonObject {
  const part = (name: 'cpu' | 'memory'): JsonObject => ({
    ...asObject(old[name] ?? {}, name),
    ...wished[name],
  });
  return { ...old, ...wished, cpu: part('cpu'), memory: part('memory') };
}
