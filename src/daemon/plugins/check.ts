/** The check of the store, as the running daemon serves it. The names are ours, for containerd has no such plugin. */
import path from 'node:path';
import { hasCode } from '../../base/errors.ts';
import { StoreChecker } from '../../core/check/store-checker.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import { pluginId } from '../../core/plugins/graph.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { checkService } from '../../services/check.ts';
import type { Configuration } from '../config/daemon-config.ts';
import { definePlugin } from './define-plugin.ts';
import { defineService } from './define-service.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { metadata, scheduler, snapshotterType, storeChecker, taskManager, transferLocal } from './tokens.ts';

/** Where the runtime keeps its bundles. */
export const bundleRootOf = ({ daemon }: Configuration): string =>
  path.join(daemon.stateDir, pluginId(taskManager));

export function check({ platform, configuration }: BuiltinDependencies): Plugin[] {
  const checker = definePlugin({
    ...storeChecker,
    requires: [metadata.type, scheduler.type, snapshotterType.type, taskManager.type, transferLocal.type],
    config: noConfig,
    init: ({ get, all }) => {
      const [collector, tasks] = [get(scheduler), get(taskManager)];
      return new StoreChecker(
        {
          store: get(metadata),
          backends: all(snapshotterType),
          registry: get(transferLocal).registry,
          mounts: platform.mounts,
          collect: (ctx) => collector.collect(ctx),
          hasTask: (ctx, containerId) => isKnown(tasks.state(ctx, { containerId })),
        },
        { bundleRoot: bundleRootOf(configuration) },
      );
    },
  });
  const service = defineService('check', [storeChecker.type], ({ get }) => ({
    grpc: [checkService({ checker: get(storeChecker) })],
  }));
  return [checker, service];
}

/** A task whose shim does not answer is a task all the same. */
const isKnown = (asking: Promise<unknown>): Promise<boolean> =>
  asking.then(
    () => true,
    (error: unknown) => !hasCode(error, 'NotFound'),
  );
