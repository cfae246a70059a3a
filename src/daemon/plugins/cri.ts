/** Kubernetes' CRI as plugins: images, the runtime's settings, and the services over both. */
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { failedPrecondition } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import { version } from '../../base/version.ts';
import { pluginId } from '../../core/plugins/graph.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { runtimeInfo } from '../../core/runtime/shims/runtime-info.ts';
import type { Snapshotter } from '../../core/snapshots/snapshotter.ts';
import { ImageAdoption } from '../../cri/image-adoption.ts';
import { ImageFactsReader } from '../../cri/image-facts.ts';
import { ImageFsInfo, type UsedSnapshotter } from '../../cri/image-fs-info.ts';
import { ImageIndex } from '../../cri/image-index.ts';
import { pullImage } from '../../cri/image-pull.ts';
import { imageService } from '../../cri/image-service.ts';
import { RuntimeFeatures, type RuntimeFeaturesDependencies } from '../../cri/runtime-features.ts';
import { criRuntimeService } from '../../cri/runtime-service.ts';
import { asObject } from '../../oci/json.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { jsonTypeUrls, packAny, unpackAny, unpackJson } from '../../wire/any.ts';
import { RuntimeInfoSchema, RuntimeRequestSchema } from '../../wire/gen/containerd/types/introspection_pb.js';
import { PullImageRequestSchema } from '../../wire/gen/runtime/v1/image_pb.js';
import { type CriImagesConfig, readCriImages, readCriRuntime, readCriStreaming } from './cri-config.ts';
import { PodPlugin } from './cri-pods.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import {
  criImages,
  criRuntime,
  criType,
  eventExchange,
  grpcType,
  metadata,
  serviceType,
  shimManager,
  snapshotsNoun,
  snapshotterType,
  taskManager,
  transferLocal,
} from './tokens.ts';

/** What the image half of the CRI has ready for its service. */
export interface CriImages {
  readonly index: ImageIndex;
  readonly facts: ImageFactsReader;
  readonly locks: KeyedLock;
  readonly config: CriImagesConfig;
  readonly isPinned: (name: string) => boolean;
}

const images = definePlugin({
  ...criImages,
  requires: [metadata.type, eventExchange.type, serviceType.type],
  config: readCriImages,
  init: ({ ctx, config, get, meta, onStop }) => {
    const { content, images: store } = get(metadata);
    const snapshotters = get(snapshotsNoun);
    for (const name of [config.snapshotter, ...config.snapshotters.values()])
      if (name !== '') requireSnapshotter(snapshotters, name);
    const facts = new ImageFactsReader({ content });
    const locks = new KeyedLock();
    const isPinned = (name: string): boolean => name === config.sandboxImage;
    onStop(new ImageAdoption(ctx, { images: store, facts, events: get(eventExchange), locks }, { isPinned }));
    meta.platforms.push(hostPlatform());
    return { index: new ImageIndex({ images: store, facts }), facts, locks, config, isPinned };
  },
});

const runtime = definePlugin({
  ...criRuntime,
  requires: [],
  config: readCriRuntime,
  init: ({ config, meta }) => {
    meta.platforms.push(hostPlatform());
    return config;
  },
});

/** Errors: FailedPrecondition. */
function requireSnapshotter(snapshotters: ReadonlyMap<string, Snapshotter>, name: string): Snapshotter {
  const snapshotter = snapshotters.get(name);
  if (snapshotter === undefined)
    throw failedPrecondition(
      `the CRI is to use the snapshotter ${JSON.stringify(name)}, which is not loaded: there are ${[...snapshotters.keys()].join(', ')}`,
    );
  return snapshotter;
}

export function cri(dependencies: BuiltinDependencies): Plugin[] {
  const { configuration, deprecations, pluginRecords } = dependencies;
  const service = definePlugin({
    type: grpcType.type,
    id: 'cri',
    requires: [
      criType.type,
      metadata.type,
      serviceType.type,
      shimManager.type,
      transferLocal.type,
      taskManager.type,
      eventExchange.type,
    ],
    config: readCriStreaming,
    init: async ({ ctx, config: streaming, get, meta, rootDir, stateDir, onStop }) => {
      const { index, facts, locks, config, isPinned } = get(criImages);
      const settings = get(criRuntime);
      const { content, images: store } = get(metadata);
      // Where the containers of the default handler are made, its images must be too; containerd forgets that.
      const snapshotterOf = (name: string): string => {
        const handler = name || settings.defaultHandler;
        return (
          settings.handlers.get(handler)?.snapshotter ||
          config.snapshotters.get(handler) ||
          config.snapshotter
        );
      };
      const rootOf = (name: string): string =>
        pluginRecords().find(({ type, id }) => type === snapshotterType.type && id === name)?.exports[
          'root'
        ] ?? path.join(configuration.daemon.rootDir, pluginId({ ...snapshotterType, id: name }));
      const fsInfo = new ImageFsInfo({
        snapshotters: usedSnapshotters(get(snapshotsNoun), {
          names: ['', ...settings.handlers.keys()].map(snapshotterOf),
          rootOf,
        }),
        walkEveryMs: config.statsPeriodMs,
      });
      const features = new RuntimeFeatures(
        { ask: askFeatures(dependencies, get(shimManager)), kernelRelease: release() },
        { retryMs: limits.criFeaturesRetryMs },
      );
      const imageDependencies = {
        index,
        facts,
        locks,
        content,
        fsInfo,
        images: store,
        transfers: get(transferLocal),
      };
      const imageSettings = { ...config, snapshotterOf, isPinned };
      const pods = new PodPlugin(
        ctx,
        {
          metadata: get(metadata),
          tasks: get(taskManager),
          events: get(eventExchange),
          platform: dependencies.platform,
          index,
          features,
          pull: (called, image, handler) =>
            pullImage(
              imageDependencies,
              imageSettings,
              called,
              create(PullImageRequestSchema, { image: { image, runtimeHandler: handler } }),
            ),
        },
        {
          settings,
          snapshotterOf,
          snapshotterRoot: rootOf,
          sandboxImage: config.sandboxImage,
          rootDir: rootDir(),
          stateDir: stateDir(),
        },
      );
      onStop(pods);
      if (dependencies.leaveAsFound !== true) {
        await pods.listen(streaming);
        pods.recover();
      }
      const places = {
        containerdRootDir: configuration.daemon.rootDir,
        containerdEndpoint: configuration.address,
        rootDir: rootDir(),
        stateDir: stateDir(),
      };
      meta.platforms.push(hostPlatform());
      meta.exports['CRIVersion'] = 'v1';
      return {
        grpc: [
          imageService(imageDependencies, imageSettings),
          criRuntimeService(
            {
              version,
              features,
              places,
              pods: pods.handlers,
              deprecations: () => deprecations.list(),
              runsSystemd: () => existsSync('/run/systemd/system'),
            },
            settings,
          ),
        ],
      };
    },
  });
  return [images, runtime, service];
}

/** Each once, in the order of the names. Errors: FailedPrecondition. */
const usedSnapshotters = (
  snapshotters: ReadonlyMap<string, Snapshotter>,
  { names, rootOf }: { names: readonly string[]; rootOf: (name: string) => string },
): UsedSnapshotter[] =>
  [...new Set(names)].map((name) => ({
    snapshotter: requireSnapshotter(snapshotters, name),
    root: rootOf(name),
  }));

/** By the shim's `-info`. */
const askFeatures =
  (
    { platform }: BuiltinDependencies,
    { program: shim, besideDir }: NonNullable<(typeof shimManager)['_instance']>,
  ): RuntimeFeaturesDependencies['ask'] =>
  async (ctx, { type, path: file, options }) => {
    const request = packAny(RuntimeRequestSchema, {
      runtimePath: file || type,
      ...(options !== undefined && { options }),
    });
    const answer = await runtimeInfo({ processes: platform.processes }, { shim, besideDir }, ctx, request);
    const { features } = unpackAny(RuntimeInfoSchema, answer);
    return features === undefined
      ? undefined
      : asObject(unpackJson(jsonTypeUrls.features, features), 'features of the runtime');
  };
