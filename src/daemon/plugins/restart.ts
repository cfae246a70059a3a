/** Restart policies. The id and its settings are containerd's. */
import type { Plugin } from '../../core/plugins/plugin.ts';
import { RestartMonitor } from '../../core/restart/restart-monitor.ts';
import { restartPolicies } from '../../core/restart/restart-policy.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { metadata, taskManager } from './tokens.ts';

export const restart = ({ leaveAsFound }: Pick<BuiltinDependencies, 'leaveAsFound'>): Plugin[] => [
  definePlugin({
    type: 'io.containerd.monitor.container.v1',
    id: 'restart',
    requires: [metadata.type, taskManager.type],
    config: (table) => {
      const intervalMs = table.durationMs('interval', 10_000);
      if (intervalMs < 1) throw table.wrong('interval', 'must be longer than nothing, as in "10s"');
      return { intervalMs };
    },
    init: ({ ctx, config, get, meta, onStop }) => {
      meta.capabilities.push(...restartPolicies);
      if (leaveAsFound === true) return {};
      const store = get(metadata);
      const monitor = new RestartMonitor(
        ctx,
        {
          namespaces: store.namespaces,
          containers: store.containers,
          tasks: get(taskManager),
          snapshotter: (name) => store.snapshotter(name),
        },
        config,
      );
      onStop(monitor);
      return monitor;
    },
  }),
];
