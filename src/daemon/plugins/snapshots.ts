/** Snapshotters and differs as plugins. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { WalkingDiffer } from '../../core/diff/walking-differ.ts';
import { SnapshotRecordStore } from '../../core/metadata/snapshot-records.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import type { ConfigTable, Plugin, PluginContext } from '../../core/plugins/plugin.ts';
import type {
  DirectorySnapshotter,
  SnapshotterDependencies,
  SnapshotterOptions,
} from '../../core/snapshots/directory-snapshotter.ts';
import { NativeSnapshotter } from '../../core/snapshots/native.ts';
import { type OverlayfsOptions, OverlayfsSnapshotter } from '../../core/snapshots/overlayfs.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { releaseLeftMounts } from '../../platform/temp-mount.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { differType, diffNoun, metadata, snapshotterType, walkingDiffer } from './tokens.ts';

interface SnapshotterConfig {
  /** "" is the plugin's own folder. */
  readonly rootPath: string;
  readonly syncRemove: boolean;
  /** Ours: a commit waits for the disk. */
  readonly syncCommit: boolean;
}

function readSnapshotter(table: ConfigTable): SnapshotterConfig {
  const rootPath = table.string('root_path', '');
  if (rootPath !== '' && !path.isAbsolute(rootPath))
    throw table.wrong('root_path', `must be an absolute path, not ${JSON.stringify(rootPath)}`);
  return {
    rootPath,
    syncRemove: table.boolean('sync_remove', false),
    syncCommit: table.boolean('sync_commit', true),
  };
}

const reservedOptions = /^(?:lowerdir\+?|datadir\+|upperdir|workdir|uidmap|gidmap)=/;

interface OverlayfsConfig extends SnapshotterConfig, Omit<OverlayfsOptions, keyof SnapshotterOptions> {}

function readOverlayfs(table: ConfigTable): OverlayfsConfig {
  const mountOptions = table.strings('mount_options', []);
  const reserved = mountOptions.find((option) => reservedOptions.test(option));
  if (reserved !== undefined)
    throw table.wrong('mount_options', `must not say ${reserved}: that is the snapshotter's own to say`);
  return {
    ...readSnapshotter(table),
    upperdirLabel: table.boolean('upperdir_label', false),
    slowChown: table.boolean('slow_chown', false),
    mountOptions,
  };
}

export function snapshots({ platform, configuration, leaveAsFound = false }: BuiltinDependencies): Plugin[] {
  const snapshotter = <Config extends SnapshotterConfig>(
    id: string,
    Implementation: new (
      dependencies: SnapshotterDependencies,
      options: SnapshotterOptions & Omit<Config, 'rootPath'>,
    ) => DirectorySnapshotter,
    read: (table: ConfigTable) => Config,
  ): Plugin =>
    definePlugin({
      type: snapshotterType.type,
      id,
      requires: [],
      config: read,
      init: async ({ ctx, config, meta, rootDir, onStop }: PluginContext<Config>) => {
        const { rootPath, ...options } = config;
        const root = rootPath === '' ? rootDir() : rootPath;
        mkdirSync(root, { recursive: true, mode: 0o700 });
        const records = new SnapshotRecordStore(path.join(root, 'metadata.db'));
        onStop(records);
        const made = new Implementation({ records, platform, log: ctx.log }, { ...options, root });
        for (const { key } of leaveAsFound ? [] : await made.restoreDirectories(ctx))
          ctx.log.warn({ key }, 'a power cut took the directory of a snapshot: it is there again, empty');
        meta.platforms.push(hostPlatform());
        meta.capabilities.push(...made.capabilities);
        meta.exports['root'] = root;
        return made;
      },
    });

  const walking = definePlugin({
    ...walkingDiffer,
    requires: [metadata.type],
    config: noConfig,
    init: ({ ctx, get, meta, stateDir, onStop }) => {
      const { content } = get(metadata);
      for (const folder of leaveAsFound ? [] : releaseLeftMounts(platform, stateDir()))
        ctx.log.info({ folder }, 'took away a temporary mount of a daemon that was killed');
      const { streamProcessors } = configuration.daemon;
      const options = { tempRoot: stateDir(), streamProcessors };
      const differ = new WalkingDiffer({ content, platform, log: ctx.log }, options);
      onStop(differ);
      meta.platforms.push(hostPlatform());
      return differ;
    },
  });

  const diffService = definePlugin({
    ...diffNoun,
    requires: [differType.type],
    config: (table) => ({
      order: table.strings('default', ['walking']),
      syncFileSystem: table.boolean('sync_fs', false),
    }),
    init: ({ config, get }) => ({
      differs: config.order.map((id) => get({ ...differType, id })),
      syncFileSystem: config.syncFileSystem,
    }),
  });

  return [
    snapshotter('overlayfs', OverlayfsSnapshotter, readOverlayfs),
    snapshotter('native', NativeSnapshotter, readSnapshotter),
    walking,
    diffService,
  ];
}
