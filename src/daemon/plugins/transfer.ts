/**
 * Moving images inside the daemon: the registry client, pulls and pushes, who is asked whether an image may come in, and
 * the streams that go beside calls.
 */
import path from 'node:path';
import { limits } from '../../base/limits.ts';
import { version } from '../../base/version.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import { pluginId } from '../../core/plugins/graph.ts';
import type { ConfigTable, Plugin } from '../../core/plugins/plugin.ts';
import { Registry } from '../../core/registry/registry.ts';
import { StreamManager } from '../../core/streaming/stream-manager.ts';
import { ImageTransfers } from '../../core/transfer/image-transfers.ts';
import { BindirVerifier, type BindirVerifierOptions } from '../../core/verifiers/bindir-verifier.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import {
  bindirVerifier,
  diffNoun,
  imageVerifierType,
  metadata,
  serviceType,
  snapshotsNoun,
  streamManager,
  transferLocal,
} from './tokens.ts';

interface TransferConfig {
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
  /** Colon-separated roots of hosts.toml directories. */
  readonly configPath: string;
}

const keysOf = {
  maxConcurrentDownloads: 'max_concurrent_downloads',
  maxConcurrentUploads: 'max_concurrent_uploaded_layers',
  configPath: 'config_path',
} as const satisfies Record<keyof TransferConfig, string>;

const readTransfer = (table: ConfigTable): TransferConfig => ({
  maxConcurrentDownloads: table.integer(keysOf.maxConcurrentDownloads, limits.concurrentTransfers),
  maxConcurrentUploads: table.integer(keysOf.maxConcurrentUploads, limits.concurrentTransfers),
  configPath: table.string(keysOf.configPath, ''),
});

const streams = definePlugin({
  ...streamManager,
  requires: [metadata.type],
  config: noConfig,
  init: ({ get }) => {
    const manager = new StreamManager();
    get(metadata).collectibles.push(manager);
    return manager;
  },
});

function readBindir(table: ConfigTable): BindirVerifierOptions {
  const binDir = table.string('bin_dir', '/opt/containerd/image-verifier/bin');
  if (!path.isAbsolute(binDir))
    throw table.wrong('bin_dir', `must be an absolute path, not ${JSON.stringify(binDir)}`);
  const perVerifierTimeoutMs = table.durationMs('per_verifier_timeout', limits.verifierMs);
  if (perVerifierTimeoutMs < 1) throw table.wrong('per_verifier_timeout', 'must be at least 1ms');
  return { binDir, maxVerifiers: table.integer('max_verifiers', limits.verifiers), perVerifierTimeoutMs };
}

const bindir = ({ platform }: BuiltinDependencies): Plugin =>
  definePlugin({
    ...bindirVerifier,
    requires: [],
    config: readBindir,
    init: ({ config }) => new BindirVerifier(platform, config),
  });

const rootsOf = ({ configPath }: TransferConfig): string[] =>
  configPath.split(':').filter((root) => root !== '');

const local = ({ reloads }: BuiltinDependencies): Plugin =>
  definePlugin({
    ...transferLocal,
    requires: [metadata.type, serviceType.type, imageVerifierType.type],
    config: readTransfer,
    init: ({ ctx, config, get, all, meta, onStop }) => {
      const { content, images, leases } = get(metadata);
      const options = {
        hostsRoots: rootsOf(config),
        http: { env: process.env, userAgent: `gantryd/${version}` },
      };
      const registry = new Registry({ log: ctx.log }, options);
      onStop(registry);
      meta.platforms.push(hostPlatform());
      const { differs } = get(diffNoun);
      const verifiers = all(imageVerifierType);
      const transfers = new ImageTransfers(
        { content, images, leases, snapshotters: get(snapshotsNoun), differs, registry, verifiers },
        config,
      );
      const [section, keys] = [`plugins.'${pluginId(transferLocal)}'`, Object.values(keysOf)];
      reloads?.on(
        keys.map((key) => `${section}.${key}`),
        (next) => {
          const settings = readTransfer(next.tableOf(transferLocal));
          options.hostsRoots = rootsOf(settings);
          transfers.limit(settings);
        },
      );
      return transfers;
    },
  });

export const transfer = (dependencies: BuiltinDependencies): readonly Plugin[] => [
  streams,
  bindir(dependencies),
  local(dependencies),
];
