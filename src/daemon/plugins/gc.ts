/** What collection can tell, served under names of our own: containerd has no such plugins. */
import { diskUsage } from '../../core/gc/disk-usage.ts';
import { explain } from '../../core/gc/explanation.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { gcService } from '../../services/gc.ts';
import { usageService } from '../../services/usage.ts';
import { defineService } from './define-service.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { metadata, mountManager, scheduler, streamManager } from './tokens.ts';

export function gc({ platform, configuration }: BuiltinDependencies): Plugin[] {
  const why = defineService(
    'gc',
    [metadata.type, scheduler.type, mountManager.type, streamManager.type],
    ({ get }) => {
      const [store, collector] = [get(metadata), get(scheduler)];
      return {
        grpc: [
          gcService({
            explain: (ctx, query) => explain(store, ctx, query),
            schedule: () => collector.schedule(),
          }),
        ],
      };
    },
  );
  const usage = defineService('usage', [metadata.type, mountManager.type, streamManager.type], ({ get }) => {
    const store = get(metadata);
    return {
      grpc: [
        usageService({
          diskUsage: (ctx, request) => diskUsage(store, ctx, request),
          diskSpace: () => platform.files.diskSpace(configuration.daemon.rootDir),
        }),
      ],
    };
  });
  return [why, usage];
}
