/**
 * The services. `io.containerd.service.v1` plugins give the nouns themselves (for the daemon's own use and the names in
 * settings), `io.containerd.grpc.v1` plugins put them on the sockets.
 */
import path from 'node:path';
import { revision, version } from '../../base/version.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import type { Plugin, PluginContext, PluginToken } from '../../core/plugins/plugin.ts';
import { runtimeInfo } from '../../core/runtime/shims/runtime-info.ts';
import { containersService } from '../../services/containers.ts';
import { contentService } from '../../services/content.ts';
import { diffService } from '../../services/diff.ts';
import { eventsService } from '../../services/events.ts';
import { healthService } from '../../services/health.ts';
import { imagesService } from '../../services/images.ts';
import { type IntrospectionServiceDependencies, introspectionService } from '../../services/introspection.ts';
import { leasesService } from '../../services/leases.ts';
import { namespacesService } from '../../services/namespaces.ts';
import { runtimeService } from '../../services/runtime.ts';
import { sandboxesService } from '../../services/sandboxes.ts';
import { snapshotsService } from '../../services/snapshots.ts';
import { streamingService } from '../../services/streaming.ts';
import { tasksService } from '../../services/tasks.ts';
import { transferService } from '../../services/transfer.ts';
import { ttrpcEventsService } from '../../services/ttrpc-events.ts';
import { versionService } from '../../services/version.ts';
import { noteDeprecatedOptions } from '../deprecations.ts';
import { serverIdentity } from '../server-identity.ts';
import { definePlugin } from './define-plugin.ts';
import { defineService } from './define-service.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import {
  containersNoun,
  contentNoun,
  diffNoun,
  eventExchange,
  imagesNoun,
  leaseManager,
  metadata,
  namespacesNoun,
  type RpcServices,
  sandboxStore,
  serviceType,
  shimManager,
  snapshotsNoun,
  streamManager,
  taskManager,
  tasksNoun,
  transferLocal,
} from './tokens.ts';

/** A noun out of the metadata store. */
const noun = <Instance>(
  token: PluginToken<Instance>,
  from: (plugin: PluginContext<undefined>) => Instance,
): Plugin => definePlugin({ ...token, requires: [metadata.type], config: noConfig, init: from });

const served = (
  id: string,
  make: (plugin: PluginContext<undefined>) => RpcServices,
  alsoRequires: Plugin['requires'] = [],
): Plugin =>
  defineService(
    id,
    [
      serviceType.type,
      metadata.type,
      eventExchange.type,
      leaseManager.type,
      sandboxStore.type,
      streamManager.type,
      transferLocal.type,
      ...alsoRequires,
    ],
    make,
  );

export const services = ({ platform, pluginRecords, deprecations }: BuiltinDependencies): Plugin[] => [
  noun(contentNoun, ({ get }) => get(metadata).content),
  noun(namespacesNoun, ({ get }) => get(metadata).namespaces),
  noun(imagesNoun, ({ get }) => get(metadata).images),
  noun(containersNoun, ({ get }) => get(metadata).containers),
  noun(sandboxStore, ({ get }) => get(metadata).sandboxes),
  noun(snapshotsNoun, ({ get }) => {
    const store = get(metadata);
    return new Map(store.snapshotterNames().map((name) => [name, store.snapshotter(name)]));
  }),
  served('content', ({ get }) => ({ grpc: [contentService({ content: get(contentNoun) })] })),
  served('namespaces', ({ get }) => ({ grpc: [namespacesService({ namespaces: get(namespacesNoun) })] })),
  served('images', ({ get }) => ({ grpc: [imagesService({ images: get(imagesNoun) })] })),
  served('containers', ({ get }) => ({ grpc: [containersService({ containers: get(containersNoun) })] })),
  served('sandboxes', ({ get }) => ({ grpc: [sandboxesService({ sandboxes: get(sandboxStore) })] })),
  served('snapshots', ({ get }) => ({ grpc: [snapshotsService({ snapshotters: get(snapshotsNoun) })] })),
  served('diff', ({ get }) => {
    const { differs, syncFileSystem } = get(diffNoun);
    return { grpc: [diffService({ differs }, { syncFileSystem })] };
  }),
  served('leases', ({ get }) => ({ grpc: [leasesService({ leases: get(leaseManager) })] })),
  served('events', ({ get }) => {
    const events = get(eventExchange);
    return { grpc: [eventsService({ events })], ttrpc: [ttrpcEventsService({ events })] };
  }),
  served(
    'introspection',
    ({ get, rootDir }) => {
      const { program: shim, besideDir } = get(shimManager);
      const { processes } = platform;
      const pluginInfo: IntrospectionServiceDependencies['pluginInfo'] = (ctx, { type, id }, options) =>
        type === taskManager.type && id === taskManager.id
          ? runtimeInfo({ processes }, { shim, besideDir }, ctx, options)
          : undefined;
      const identity = serverIdentity(path.join(rootDir(), 'uuid'));
      const known = { identity, plugins: pluginRecords, deprecations: () => deprecations.list(), pluginInfo };
      return { grpc: [introspectionService(known)] };
    },
    [shimManager.type],
  ),
  served('streaming', ({ get }) => ({ grpc: [streamingService({ streams: get(streamManager) })] })),
  served('transfer', ({ get }) => ({
    grpc: [transferService({ transfers: get(transferLocal), streams: get(streamManager) })],
  })),
  served('tasks', ({ get }) => {
    const tasks = get(tasksNoun);
    return {
      grpc: [
        tasksService({ tasks, noteOptions: (options) => noteDeprecatedOptions(deprecations, options) }),
        runtimeService({ tasks }),
      ],
    };
  }),
  served('healthcheck', () => ({ grpc: [healthService({ services: [] })] })),
  served('version', () => ({ grpc: [versionService({ version, revision })] })),
];
