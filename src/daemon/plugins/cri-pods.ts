/** Pods and containers of the CRI, put together: what core gives them, where things are, and their recovery. */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { type Context, withSignal } from '../../base/context.ts';
import { ContainerdError, canceled, unavailable } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { EventExchange } from '../../core/events/event-exchange.ts';
import type { MetadataStore } from '../../core/metadata/metadata.ts';
import type { StreamManager } from '../../core/runtime/streams/stream-manager.ts';
import type { TaskManager } from '../../core/runtime/task-manager.ts';
import { ContainerFiles } from '../../cri/containers/container.ts';
import { ContainerEvents } from '../../cri/containers/container-events.ts';
import { ContainerStreams } from '../../cri/containers/container-streams.ts';
import { watchOom } from '../../cri/containers/oom-watch.ts';
import type { ImageIndex } from '../../cri/image-index.ts';
import { AttachmentStore } from '../../cri/network/attachment-store.ts';
import { CniClient } from '../../cri/network/cni-client.ts';
import { CniPlugins } from '../../cri/network/cni-plugin.ts';
import { NetworkDirectory } from '../../cri/network/network-directory.ts';
import { PodNamespaces } from '../../cri/network/pod-namespaces.ts';
import { PodNetwork } from '../../cri/network/pod-network.ts';
import { writeTemplateConfig } from '../../cri/network/template-config.ts';
import { readHostFacts } from '../../cri/pods/host-facts.ts';
import { IdIndex, ReservedNames } from '../../cri/pods/id-index.ts';
import { PodFileStore } from '../../cri/pods/pod-files.ts';
import { podHandlers } from '../../cri/pods/pod-service.ts';
import { recover } from '../../cri/pods/recovery.ts';
import type { CriWorld } from '../../cri/pods/world.ts';
import type { RuntimeFeatures } from '../../cri/runtime-features.ts';
import type { CriSettings } from '../../cri/settings.ts';
import { StreamingServer, type StreamingServerOptions } from '../../cri/streaming/streaming-server.ts';
import type { Platform } from '../../platform/platform.ts';

export interface PodPluginDependencies {
  readonly metadata: MetadataStore;
  readonly tasks: TaskManager & StreamManager;
  readonly events: EventExchange;
  readonly platform: Platform;
  readonly index: ImageIndex;
  readonly features: RuntimeFeatures;
  readonly pull: CriWorld['pull'];
}

export interface PodPluginOptions {
  readonly settings: CriSettings;
  readonly snapshotterOf: (handler: string) => string;
  readonly snapshotterRoot: (name: string) => string;
  readonly sandboxImage: string;
  readonly rootDir: string;
  readonly stateDir: string;
}

export class PodPlugin implements AsyncDisposable {
  readonly handlers: ReturnType<typeof podHandlers>;
  readonly #world: CriWorld;
  readonly #events: EventExchange;
  readonly #directories: readonly NetworkDirectory[];
  readonly #ending = new AbortController();
  readonly #streams: ContainerStreams;
  #server: StreamingServer | undefined;
  #recovered = false;
  #recovery: Promise<void> | undefined;

  constructor(ctx: Context, dependencies: PodPluginDependencies, options: PodPluginOptions) {
    const { settings, rootDir, stateDir, sandboxImage, snapshotterOf, snapshotterRoot } = options;
    const { metadata, tasks, platform, index, features, pull, events } = dependencies;
    const directories = networkDirectories(settings);
    this.#directories = [...directories.values()];
    this.#events = events;
    this.#world = {
      sandboxes: metadata.sandboxes,
      records: metadata.containers,
      content: metadata.content,
      leases: metadata.leases,
      tasks,
      snapshotter: (name) => metadata.snapshotter(name),
      snapshotterOf,
      snapshotterRoot,
      images: index,
      pull,
      network: networkOf(platform, settings, { directories, rootDir }),
      namespaces: new PodNamespaces(platform, {
        networkDir: settings.pods.netnsUnderState ? path.join(stateDir, 'netns') : '/run/netns',
        userDir: path.join(stateDir, 'userns'),
      }),
      platform,
      host: readHostFacts(),
      runtimeFacts: async (called, handler) => {
        const { recursiveReadOnlyMounts, userNamespaces } = await features.of(called, handler);
        return { recursiveReadOnlyMounts, idmapMounts: userNamespaces, vmBased: false };
      },
      pods: new IdIndex(),
      containers: new IdIndex(),
      podNames: new ReservedNames('sandbox'),
      containerNames: new ReservedNames('container'),
      podFiles: new PodFileStore(platform, { root: rootDir, state: stateDir }),
      containerFiles: new ContainerFiles(rootDir),
      locks: new KeyedLock(),
      events: new ContainerEvents(),
      settings,
      sandboxImage,
      background: withSignal(ctx, this.#ending.signal),
      tempRoot: path.join(stateDir, 'mounts'),
      stateDir,
    };
    this.handlers = podHandlers(
      {
        world: this.#world,
        streams: tasks,
        fillTemplate: async (podCidr) => {
          const template = settings.podNetwork.confTemplate;
          const directory = directories.get('');
          if (directory !== undefined) await writeTemplateConfig(directory, { template, podCidr });
        },
        server: () => {
          if (this.#server === undefined) throw unavailable('the streaming server does not listen');
          return this.#server;
        },
      },
      () => this.#recovered,
    );
    this.#streams = new ContainerStreams({ world: this.#world, streams: tasks });
  }

  /** Where exec and attach go. Errors: FailedPrecondition when the address cannot be had. */
  async listen(options: StreamingServerOptions): Promise<void> {
    const { log } = this.#world.background;
    this.#server = await StreamingServer.listen({ log, runtime: this.#streams }, options);
  }

  /** Begins; the calls on pods are answered when it has ended. */
  recover(): void {
    watchOom(this.#world, this.#events);
    this.#recovery = recover(this.#world)
      .catch((error: unknown) => {
        this.#world.background.log.error(
          { error: ContainerdError.from(error) },
          'not all pods of before could be taken over',
        );
      })
      .then(() => {
        this.#recovered = true;
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(canceled('the daemon stops'));
    await this.#server?.[Symbol.asyncDispose]();
    await this.#recovery;
    for (const directory of this.#directories) directory[Symbol.dispose]();
  }
}

const networkDirectories = ({ cni, handlers }: CriSettings): ReadonlyMap<string, NetworkDirectory> =>
  new Map([
    ['', new NetworkDirectory(cni)],
    ...Array.from(handlers.values())
      .filter(({ cniConfDir }) => cniConfDir !== '')
      .map(
        ({ name, cniConfDir, cniMaxConfNum }) =>
          [name, new NetworkDirectory({ confDir: cniConfDir, maxConfNum: cniMaxConfNum })] as const,
      ),
  ]);

const networkOf = (
  platform: Platform,
  { cni, podNetwork }: CriSettings,
  { directories, rootDir }: { directories: ReadonlyMap<string, NetworkDirectory>; rootDir: string },
): PodNetwork => {
  const directory = path.join(rootDir, 'networks');
  const attachments = new AttachmentStore({ directory });
  // Files that a killed daemon was about to put into place.
  for (const name of readdirSync(directory)) if (name.endsWith('.new')) rmSync(path.join(directory, name));
  return new PodNetwork(
    {
      client: new CniClient({ plugins: new CniPlugins(platform, { binDirs: cni.binDirs }) }),
      attachments,
      namespaces: platform.namespaces,
      directories,
    },
    podNetwork,
  );
};
