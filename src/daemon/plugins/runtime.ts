/** Tasks: the manager of shims and the task manager over it. */
import { chmodSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { version } from '../../base/version.ts';
import { MountingTaskManager } from '../../core/mounts/mounting-tasks.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { Deadlines } from '../../core/runtime/calls/deadlines.ts';
import type { ShimProgram } from '../../core/runtime/shims/foreign-shim.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { eventExchange, metadata, mountManager, shimManager, taskManager, tasksNoun } from './tokens.ts';

/** Our shim, run by the same Node: beside the bundle that runs, or from source when the daemon is. */
function builtInShim(): { readonly program: ShimProgram; readonly binDir: string } {
  const self = fileURLToPath(import.meta.url);
  const fromSource = self.endsWith('.ts');
  const script = fromSource
    ? path.join(path.dirname(self), '../../shim/main.ts')
    : path.join(path.dirname(self), 'containerd-shim-gantry-v1.js');
  const packageDir = fromSource
    ? path.join(path.dirname(self), '../../..')
    : path.join(path.dirname(self), '..');
  return {
    program: { file: process.execPath, args: [...process.execArgv, script] },
    binDir: path.join(packageDir, 'bin'),
  };
}

export function runtime({ platform, configuration }: BuiltinDependencies): Plugin[] {
  const { program, binDir } = builtInShim();
  const manager = definePlugin({
    ...shimManager,
    requires: [],
    config: noConfig,
    init: ({ stateDir }) => ({ program, directory: stateDir(), besideDir: binDir }),
  });

  const task = definePlugin({
    ...taskManager,
    requires: [shimManager.type, metadata.type, eventExchange.type, mountManager.type],
    config: noConfig,
    init: async ({ ctx, get, meta, rootDir, stateDir, onStop }) => {
      const { containers, content } = get(metadata);
      const events = get(eventExchange);
      const { directory } = get(shimManager);
      const state = stateDir();
      // Root of a user namespace has to pass to its bundle, which keeps others out by itself.
      chmodSync(state, 0o711);
      const daemon = {
        grpcAddress: configuration.address,
        ttrpcAddress: `${configuration.address}.ttrpc`,
        publishBinary: path.join(binDir, 'gantryd'),
        version,
      };
      const tasks = new MountingTaskManager(
        {
          containers,
          content,
          events,
          exits: events.exits,
          mounts: get(mountManager),
          platform,
          log: ctx.log,
        },
        {
          root: rootDir(),
          state,
          shimDirectory: directory,
          shim: program,
          sharing: configuration.daemon.shimSharing,
          deadlines: new Deadlines(configuration.daemon.timeoutsMs),
          daemon,
          besideDir: binDir,
        },
      );
      onStop(tasks);
      await tasks.load(ctx);
      meta.platforms.push(hostPlatform());
      meta.exports['log-uri-schemes'] = 'fifo,binary,binary-v2,file';
      return tasks;
    },
  });

  const tasksService = definePlugin({
    ...tasksNoun,
    requires: [taskManager.type],
    config: noConfig,
    init: ({ get }) => get(taskManager),
  });

  return [manager, task, tasksService];
}
