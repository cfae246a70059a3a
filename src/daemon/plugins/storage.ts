/** Content, metadata, events, leases and garbage collection as plugins. */
import path from 'node:path';
import { failedPrecondition } from '../../base/errors.ts';
import type { BlobStore } from '../../core/content/blob-store.ts';
import { LocalContentStore } from '../../core/content/local-store.ts';
import { Exchange } from '../../core/events/exchange.ts';
import { Collector } from '../../core/gc/collector.ts';
import { defaultGcThresholds, GcScheduler } from '../../core/gc/scheduler.ts';
import { Database } from '../../core/metadata/database.ts';
import { MetadataStore } from '../../core/metadata/metadata.ts';
import { metadataMigrations } from '../../core/metadata/schema.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import { pluginId } from '../../core/plugins/graph.ts';
import type { ConfigTable, Plugin, PluginContext } from '../../core/plugins/plugin.ts';
import { ExitJournal } from '../../core/runtime/loss/exit-journal.ts';
import { TaskEventExchange } from '../../core/runtime/loss/task-events.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import {
  content,
  contentType,
  eventExchange,
  leaseManager,
  metadata,
  scheduler,
  snapshotterType,
} from './tokens.ts';

const contentPlugin = definePlugin({
  ...content,
  requires: [],
  config: noConfig,
  init: ({ rootDir, meta }) => {
    meta.exports['root'] = rootDir();
    return new LocalContentStore(rootDir());
  },
});

const eventPlugin = definePlugin({
  ...eventExchange,
  requires: [],
  config: noConfig,
  init: ({ stateDir }) =>
    new TaskEventExchange({
      exchange: new Exchange(),
      journal: new ExitJournal(path.join(stateDir(), 'task-events')),
    }),
});

/** The one content plugin there is. Errors: NotFound (none works), FailedPrecondition (several). */
function blobStoreOf({ get, all }: Pick<PluginContext<unknown>, 'get' | 'all'>): BlobStore {
  const stores = all(contentType);
  const [only, ...others] = stores.values();
  if (others.length > 0)
    throw failedPrecondition(
      `multiple plugins registered for ${contentType.type} (${[...stores.keys()].join(', ')}): there can be one, so name the others in disabled_plugins, as ${pluginId(content)}`,
    );
  return only ?? get(content);
}

/** `bolt` by name only: the file is SQLite. */
const metadataPlugin = definePlugin({
  ...metadata,
  requires: [content.type, eventExchange.type, snapshotterType.type],
  config: (table) => {
    const contentSharing = table.string('content_sharing_policy', 'shared');
    if (contentSharing !== 'shared' && contentSharing !== 'isolated')
      throw table.wrong(
        'content_sharing_policy',
        `must be shared or isolated, not ${JSON.stringify(contentSharing)}`,
      );
    if (table.boolean('no_sync', false))
      throw table.wrong('no_sync', 'must be false: what is acknowledged is durable here');
    return { contentSharing } as const;
  },
  init: ({ rootDir, meta, config, get, all, onStop }) => {
    const file = path.join(rootDir(), 'meta.db');
    const database = new Database(file, metadataMigrations);
    onStop(database);
    meta.exports['policy'] = config.contentSharing;
    meta.exports['path'] = file;
    const dependencies = {
      database,
      contentStore: blobStoreOf({ get, all }),
      snapshotters: all(snapshotterType),
      events: get(eventExchange),
    };
    return new MetadataStore(dependencies, config);
  },
});

function readThresholds(table: ConfigTable): typeof defaultGcThresholds {
  const pauseThreshold = table.number('pause_threshold', defaultGcThresholds.pauseThreshold);
  if (pauseThreshold < 0 || pauseThreshold > 0.5)
    throw table.wrong('pause_threshold', `must be from 0 to 0.5, not ${pauseThreshold}`);
  return {
    pauseThreshold,
    deletionThreshold: table.integer('deletion_threshold', defaultGcThresholds.deletionThreshold),
    mutationThreshold: table.integer('mutation_threshold', defaultGcThresholds.mutationThreshold),
    scheduleDelayMs: table.durationMs('schedule_delay', defaultGcThresholds.scheduleDelayMs),
    startupDelayMs: table.durationMs('startup_delay', defaultGcThresholds.startupDelayMs),
  };
}

const schedulerPlugin = ({ reloads }: BuiltinDependencies): Plugin =>
  definePlugin({
    ...scheduler,
    requires: [metadata.type],
    config: readThresholds,
    init: ({ ctx, config, get, meta, onStop }) => {
      const store = get(metadata);
      const collector = new GcScheduler({ runner: new Collector({ store }), log: ctx.log }, config);
      onStop(collector);
      store.useCollector(collector);
      // What a crash left behind, and leases that expired meanwhile, go without waiting for a client to change something.
      collector.mutated({ deleted: true });
      const apply = (thresholds: typeof config): void => {
        meta.exports['PauseThreshold'] = String(thresholds.pauseThreshold);
        meta.exports['DeletionThreshold'] = String(thresholds.deletionThreshold);
        meta.exports['MutationThreshold'] = String(thresholds.mutationThreshold);
        meta.exports['ScheduleDelay'] = `${thresholds.scheduleDelayMs}ms`;
        meta.exports['StartupDelay'] = `${thresholds.startupDelayMs}ms`;
      };
      apply(config);
      reloads?.on([`plugins.'${pluginId(scheduler)}'`], (next) => {
        const thresholds = readThresholds(next.tableOf(scheduler));
        collector.useThresholds(thresholds);
        apply(thresholds);
      });
      return collector;
    },
  });

const leasePlugin = definePlugin({
  ...leaseManager,
  requires: [metadata.type],
  config: noConfig,
  init: ({ get }) => get(metadata).leases,
});

export const storage = (dependencies: BuiltinDependencies): readonly Plugin[] => [
  contentPlugin,
  eventPlugin,
  metadataPlugin,
  schedulerPlugin(dependencies),
  leasePlugin,
];
