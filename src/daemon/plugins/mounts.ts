/** The mount manager. `bolt` by name only: its rows are in the metadata database. */
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { MetadataMountStore } from '../../core/metadata/mounts.ts';
import { LocalMountManager } from '../../core/mounts/local-mount-manager.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import { type Plugin, SkipPlugin } from '../../core/plugins/plugin.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { bootId } from '../../platform/boot-id.ts';
import { mountsService } from '../../services/mounts.ts';
import { definePlugin } from './define-plugin.ts';
import { defineService } from './define-service.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { metadata, mountHandlerType, mountManager } from './tokens.ts';

export function mounts({ platform, configuration, leaveAsFound }: BuiltinDependencies): Plugin[] {
  /** Part of the manager; the name is there because clients look for it. */
  const erofs = definePlugin({
    type: mountHandlerType.type,
    id: 'erofs',
    requires: [],
    config: noConfig,
    init: ({ meta }) => {
      if (platform.name !== 'linux') throw new SkipPlugin('erofs is of Linux');
      meta.platforms.push(hostPlatform());
      return {};
    },
  });
  const manager = definePlugin({
    ...mountManager,
    requires: [metadata.type, mountHandlerType.type],
    config: (table) => {
      if (table.boolean('no_sync', false))
        throw table.wrong('no_sync', 'must be false: what is acknowledged is durable here');
    },
    init: async ({ ctx, get, stateDir }) => {
      const { database, changes, collectibles } = get(metadata);
      const store = new MetadataMountStore({ database, changes });
      const made = new LocalMountManager(
        { store, platform },
        {
          placesDir: path.join(realpathSync(stateDir()), 't'),
          allowedRoots: [realpathSync(configuration.daemon.rootDir)],
          boot: bootId(),
        },
      );
      if (leaveAsFound !== true) await made.recover(ctx);
      collectibles.push(made);
      return made;
    },
  });
  const service = defineService('mounts', [mountManager.type], ({ get }) => ({
    grpc: [mountsService({ mounts: get(mountManager) })],
  }));
  return [erofs, manager, service];
}
