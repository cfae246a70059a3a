/**
 * The runtime's side of NRI: one method for each moment in the life of pods and containers, which asks all plugins in the
 * order of their indices.
 *
 * One request at a time, as in containerd: a plugin that joins is told of a state that does not change meanwhile. A plugin
 * that asks for updates while it answers a request waits for itself, and is closed when its time is up. A request fails when
 * a plugin answers it with an error or is at odds with another one; plugins that are slow or gone are left out.
 */
import type { Socket } from 'node:net';
import { create } from '@bufbuild/protobuf';
import type { Context } from '../../base/context.ts';
import { unknown } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { Logger } from '../../base/logger.ts';
import {
  type ContainerAdjustment,
  type ContainerEviction,
  ContainerSchema,
  type ContainerUpdate,
  Event,
  type LinuxResources,
  LinuxResourcesSchema,
  PodSandboxSchema,
  type UpdateContainersRequest,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { AdjustmentMerge } from './adjustment-merge.ts';
import { type DefaultValidatorOptions, validateByDefault } from './default-validator.ts';
import { FieldOwners } from './field-owners.ts';
import type { NriContainer, NriPod, NriResources } from './messages.ts';
import { NriPlugin, type NriPluginOptions, type NriState } from './nri-plugin.ts';
import { UpdateMerge } from './update-merge.ts';

/** What the owner of pods and containers does for plugins. */
export interface NriDomain {
  /** All pods and containers that there are. */
  state(): Promise<NriState>;
  /** Resolves with those that could not be changed and were not allowed to fail. */
  update(updates: readonly ContainerUpdate[]): Promise<readonly ContainerUpdate[]>;
  evict(evictions: readonly ContainerEviction[]): Promise<void>;
}

export interface NriRuntimeDependencies {
  readonly log: Logger;
  readonly domain: NriDomain;
}

export interface NriRuntimeOptions extends Omit<NriPluginOptions, 'preinstalled'> {
  readonly validator: DefaultValidatorOptions;
}

/** What else a request leads to; the caller does it. */
export interface NriConsequences {
  readonly updates: readonly ContainerUpdate[];
  readonly evictions: readonly ContainerEviction[];
}

export class NriRuntime implements AsyncDisposable {
  readonly #deps: NriRuntimeDependencies;
  readonly #options: NriRuntimeOptions;
  readonly #lock = new KeyedLock();
  /** In the order of their indices. */
  #plugins: readonly NriPlugin[] = [];
  readonly #joining = new Set<NriPlugin>();

  constructor(dependencies: NriRuntimeDependencies, options: NriRuntimeOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** Names of the plugins that are asked. */
  get plugins(): readonly string[] {
    return this.#plugins.map(({ name }) => name);
  }

  /** Registers, configures and synchronizes the plugin at the other end. Errors: the plugin's; it is closed then. */
  async join(socket: Socket, preinstalled?: NriPluginOptions['preinstalled']): Promise<NriPlugin> {
    const { log, domain } = this.#deps;
    const plugin = new NriPlugin(
      socket,
      { log, onUpdate: (from, request) => this.#onUpdate(from, request) },
      { ...this.#options, ...(preinstalled === undefined ? {} : { preinstalled }) },
    );
    this.#joining.add(plugin);
    void plugin.closed.then(() => this.#forget(plugin));
    await plugin.start();
    using _turn = await this.#lock.acquire('');
    const updates = await plugin.synchronize(await domain.state());
    if (plugin.isClosed) throw unknown(`NRI plugin ${plugin.name} left while it was synchronized`);
    this.#plugins = [...this.#plugins, plugin].toSorted(
      (one, other) => Number(one.index) - Number(other.index),
    );
    log.info({ plugin: plugin.name }, 'an NRI plugin is there');
    if (updates.length > 0) await domain.update(updates);
    return plugin;
  }

  /** A pod's sandbox runs. */
  async runPodSandbox(ctx: Context, pod: NriPod): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.RUN_POD_SANDBOX, { pod }, (client, options) =>
        client.runPodSandbox({ pod }, options),
      ),
    );
  }

  /** Before a pod's resources are changed. */
  async updatePodSandbox(
    ctx: Context,
    pod: NriPod,
    { overhead, resources }: { readonly overhead: NriResources; readonly resources: NriResources },
  ): Promise<void> {
    const request = { pod, overheadLinuxResources: overhead, linuxResources: resources };
    await this.#tellAll(ctx, (plugin) =>
      plugin.call(ctx, Event.UPDATE_POD_SANDBOX, (client, options) =>
        client.updatePodSandbox(request, options),
      ),
    );
  }

  async postUpdatePodSandbox(ctx: Context, pod: NriPod): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.POST_UPDATE_POD_SANDBOX, { pod }, (client, options) =>
        client.postUpdatePodSandbox({ pod }, options),
      ),
    );
  }

  async stopPodSandbox(ctx: Context, pod: NriPod): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.STOP_POD_SANDBOX, { pod }, (client, options) =>
        client.stopPodSandbox({ pod }, options),
      ),
    );
  }

  async removePodSandbox(ctx: Context, pod: NriPod): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.REMOVE_POD_SANDBOX, { pod }, (client, options) =>
        client.removePodSandbox({ pod }, options),
      ),
    );
  }

  /**
   * Before a container is created. The adjustment is for its specification (`applyAdjustment`).
   * Errors: Unknown when plugins are at odds or a validator refuses.
   */
  async createContainer(
    ctx: Context,
    pod: NriPod,
    container: NriContainer,
  ): Promise<NriConsequences & { readonly adjustment: ContainerAdjustment }> {
    using _turn = await this.#lock.acquire('', ctx);
    const owners = new FieldOwners();
    const merge = new AdjustmentMerge(container, owners);
    const updates = new UpdateMerge(owners);
    const evictions = new Map<string, ContainerEviction>();
    for (const plugin of this.#plugins) {
      const answer = await plugin.call(ctx, Event.CREATE_CONTAINER, (client, options) =>
        client.createContainer({ pod, container: merge.container }, options),
      );
      if (answer === undefined) continue;
      merge.add(plugin.name, answer.adjust);
      updates.add(plugin.name, answer.update, merge.container.id);
      for (const eviction of answer.evict) evictions.set(eviction.containerId, eviction);
    }
    await this.#validate(ctx, pod, container, merge, updates);
    return { adjustment: merge.adjustment, updates: updates.updates, evictions: [...evictions.values()] };
  }

  async postCreateContainer(ctx: Context, pod: NriPod, container: NriContainer): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.POST_CREATE_CONTAINER, { pod, container }, (client, options) =>
        client.postCreateContainer({ pod, container }, options),
      ),
    );
  }

  async startContainer(ctx: Context, pod: NriPod, container: NriContainer): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.START_CONTAINER, { pod, container }, (client, options) =>
        client.startContainer({ pod, container }, options),
      ),
    );
  }

  async postStartContainer(ctx: Context, pod: NriPod, container: NriContainer): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.POST_START_CONTAINER, { pod, container }, (client, options) =>
        client.postStartContainer({ pod, container }, options),
      ),
    );
  }

  /** Before a container's resources are changed: what to change them to, and what else. */
  async updateContainer(
    ctx: Context,
    pod: NriPod,
    container: NriContainer,
    resources: NriResources,
  ): Promise<NriConsequences & { readonly resources: LinuxResources }> {
    using _turn = await this.#lock.acquire('', ctx);
    const { id } = create(ContainerSchema, container);
    const updates = new UpdateMerge(new FieldOwners());
    const evictions = new Map<string, ContainerEviction>();
    updates.begin(id, create(LinuxResourcesSchema, resources));
    const own = (): LinuxResources =>
      updates.updates.find(({ containerId }) => containerId === id)?.linux?.resources ??
      create(LinuxResourcesSchema);
    for (const plugin of this.#plugins) {
      const answer = await plugin.call(ctx, Event.UPDATE_CONTAINER, (client, options) =>
        client.updateContainer({ pod, container, linuxResources: own() }, options),
      );
      if (answer === undefined) continue;
      updates.add(plugin.name, answer.update);
      for (const eviction of answer.evict) evictions.set(eviction.containerId, eviction);
    }
    return {
      resources: own(),
      updates: updates.updates.filter(({ containerId }) => containerId !== id),
      evictions: [...evictions.values()],
    };
  }

  async postUpdateContainer(ctx: Context, pod: NriPod, container: NriContainer): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.POST_UPDATE_CONTAINER, { pod, container }, (client, options) =>
        client.postUpdateContainer({ pod, container }, options),
      ),
    );
  }

  /** A container has been stopped: what to change of others. */
  async stopContainer(
    ctx: Context,
    pod: NriPod,
    container: NriContainer,
  ): Promise<{ readonly updates: readonly ContainerUpdate[] }> {
    using _turn = await this.#lock.acquire('', ctx);
    const updates = new UpdateMerge(new FieldOwners());
    for (const plugin of this.#plugins) {
      const answer = await plugin.call(ctx, Event.STOP_CONTAINER, (client, options) =>
        client.stopContainer({ pod, container }, options),
      );
      if (answer !== undefined) updates.add(plugin.name, answer.update);
    }
    return { updates: updates.updates };
  }

  async removeContainer(ctx: Context, pod: NriPod, container: NriContainer): Promise<void> {
    await this.#tellAll(ctx, (plugin) =>
      plugin.tell(ctx, Event.REMOVE_CONTAINER, { pod, container }, (client, options) =>
        client.removeContainer({ pod, container }, options),
      ),
    );
  }

  /** Tells the plugins, and closes them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#joining].map((plugin) => plugin[Symbol.asyncDispose]()));
  }

  async #tellAll(ctx: Context, tell: (plugin: NriPlugin) => Promise<unknown>): Promise<void> {
    using _turn = await this.#lock.acquire('', ctx);
    for (const plugin of this.#plugins) await tell(plugin);
  }

  /** By the settings first, then by the plugins that judge. One that fails to answer refuses, too. */
  async #validate(
    ctx: Context,
    pod: NriPod,
    container: NriContainer,
    { adjustment, owners }: AdjustmentMerge,
    updates: UpdateMerge,
  ): Promise<void> {
    const present = this.#plugins.filter(({ isClosed }) => !isClosed);
    validateByDefault(this.#options.validator, {
      pod: create(PodSandboxSchema, pod),
      container: create(ContainerSchema, container),
      adjustment,
      owners,
      plugins: present.map(({ base }) => base),
    });
    const validators = present.filter((plugin) => plugin.wants(Event.VALIDATE_CONTAINER_ADJUSTMENT));
    for (const plugin of validators) {
      const answer = await plugin.call(ctx, Event.VALIDATE_CONTAINER_ADJUSTMENT, (client, options) =>
        client.validateContainerAdjustment(
          {
            pod,
            container,
            adjust: adjustment,
            update: updates.updates,
            owners: owners.message(),
            plugins: present.map(({ base, index }) => ({ name: base, index })),
          },
          options,
        ),
      );
      if (answer === undefined) throw unknown(`validator plugin ${plugin.name} failed to answer`);
      if (answer.reject)
        throw unknown(
          `validator ${JSON.stringify(plugin.name)} rejected the adjustment of the container: ${answer.reason}`,
        );
    }
  }

  async #onUpdate(
    plugin: NriPlugin,
    { update, evict }: UpdateContainersRequest,
  ): Promise<readonly ContainerUpdate[]> {
    this.#deps.log.info({ plugin: plugin.name }, 'an NRI plugin asks for updates of containers');
    using _turn = await this.#lock.acquire('');
    const failed = update.length === 0 ? [] : await this.#deps.domain.update(update);
    if (evict.length > 0) await this.#deps.domain.evict(evict);
    return failed;
  }

  #forget(plugin: NriPlugin): void {
    this.#joining.delete(plugin);
    if (!this.#plugins.includes(plugin)) return;
    this.#plugins = this.#plugins.filter((one) => one !== plugin);
    this.#deps.log.info({ plugin: plugin.name }, 'an NRI plugin has gone');
  }
}
