/**
 * Starts plugins in the order of what they require, and keeps what became of each.
 *
 * A plugin that fails or skips does not stop the others; what asks for its instance fails in turn. Only a plugin
 * named in required_plugins takes the daemon down with it. Settings are read for all before any is started, so a
 * wrong value is refused before anything has happened.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Context } from '../../base/context.ts';
import { absent, ContainerdError, failedPrecondition, internal, notFound } from '../../base/errors.ts';
import type { Platform } from '../../oci/platform.ts';
import type {
  ConfigTable,
  Plugin,
  PluginContext,
  PluginId,
  PluginMeta,
  PluginToken,
  PluginType,
  PluginTypeToken,
} from './plugin.ts';
import { SkipPlugin } from './plugin.ts';

export type PluginStatus = 'ok' | 'error' | 'skip';

/** What introspection tells of a plugin. */
export interface PluginRecord {
  readonly type: PluginType;
  readonly id: string;
  readonly requires: readonly PluginType[];
  readonly platforms: readonly Platform[];
  readonly capabilities: readonly string[];
  readonly exports: Readonly<Record<string, string>>;
  readonly status: PluginStatus;
  /** Why it failed or was skipped; a skip's message ends with "skip plugin". */
  readonly error: ContainerdError | undefined;
}

export interface PluginGraphOptions {
  readonly ctx: Context;
  readonly rootDir: string;
  readonly stateDir: string;
  readonly configOf: (plugin: Plugin) => ConfigTable;
  readonly requiredPlugins: readonly string[];
  readonly disabledPlugins: readonly string[];
}

export const pluginId = (plugin: { type: PluginType; id: string }): PluginId =>
  `${plugin.type}.${plugin.id}` as PluginId;

export class PluginGraph implements AsyncDisposable {
  readonly #records: PluginRecord[] = [];
  readonly #instances = new Map<PluginType, Map<string, unknown>>();
  readonly #resources = new AsyncDisposableStack();
  readonly #options: PluginGraphOptions;

  constructor(options: PluginGraphOptions) {
    this.#options = options;
  }

  /** In starting order; grows while `start` runs. */
  get records(): readonly PluginRecord[] {
    return this.#records;
  }

  /**
   * Errors: InvalidArgument (settings), FailedPrecondition (a required plugin did not start);
   * whatever had been started is stopped again.
   */
  async start(plugins: readonly Plugin[]): Promise<void> {
    const disabled = new Set(this.#options.disabledPlugins);
    const enabled = plugins.filter((plugin) => !disabled.has(pluginId(plugin)));
    const ordered = orderByRequires(enabled).map((plugin) => ({
      plugin,
      config: plugin.config(this.#options.configOf(plugin)),
    }));
    const required = new Set(this.#options.requiredPlugins);
    try {
      for (const { plugin, config } of ordered) {
        const record = await this.#startOne(plugin, config);
        this.#records.push(record);
        if (record.error !== undefined && required.has(pluginId(plugin)))
          throw failedPrecondition(
            `required plugin ${pluginId(plugin)} did not start: ${record.error.message}`,
            record.error,
          );
        required.delete(pluginId(plugin));
      }
      const [missing] = required;
      if (missing !== undefined)
        throw failedPrecondition(
          `required plugin ${missing} does not exist or is disabled: correct required_plugins or disabled_plugins`,
        );
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Errors: NotFound when it failed, skipped, is disabled or does not exist. */
  get<Instance>(token: PluginToken<Instance>): Instance {
    const instances = this.#instances.get(token.type);
    if (instances?.has(token.id) !== true) {
      const record = this.#records.find(({ type, id }) => type === token.type && id === token.id);
      throw record?.error === undefined
        ? notFound('plugin', pluginId(token))
        : absent(`plugin ${pluginId(token)} did not start: ${record.error.message}`, record.error);
    }
    return instances.get(token.id) as Instance;
  }

  all<Instance>(token: PluginTypeToken<Instance>): ReadonlyMap<string, Instance> {
    return new Map((this.#instances.get(token.type) ?? new Map<string, unknown>()) as Map<string, Instance>);
  }

  /** Stops everything, the last started first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  async #startOne(plugin: Plugin, config: unknown): Promise<PluginRecord> {
    const meta: PluginMeta = { platforms: [], capabilities: [], exports: {} };
    const { log } = this.#options.ctx;
    // Of its own, so that what a plugin had registered before it failed is released at once.
    await using resources = new AsyncDisposableStack();
    let error: ContainerdError | undefined;
    let status: PluginStatus = 'ok';
    try {
      const instance = await plugin.init(this.#contextOf(plugin, config, meta, resources));
      const ofType = this.#instances.get(plugin.type) ?? new Map<string, unknown>();
      ofType.set(plugin.id, instance);
      this.#instances.set(plugin.type, ofType);
      this.#resources.use(resources.move());
    } catch (thrown) {
      status = thrown instanceof SkipPlugin ? 'skip' : 'error';
      error = ContainerdError.from(thrown);
      if (status === 'skip') log.info({ plugin: pluginId(plugin), reason: error.message }, 'plugin skipped');
      else log.warn({ plugin: pluginId(plugin), error: thrown }, 'plugin failed');
    }
    const { type, id, requires } = plugin;
    return { type, id, requires, ...meta, status, error };
  }

  #contextOf(
    plugin: Plugin,
    config: unknown,
    meta: PluginMeta,
    resources: AsyncDisposableStack,
  ): PluginContext<unknown> {
    const folder = (parent: string) => (): string => {
      const made = path.join(parent, pluginId(plugin));
      mkdirSync(made, { recursive: true, mode: 0o700 });
      return made;
    };
    const { ctx, rootDir, stateDir } = this.#options;
    return {
      ctx: Object.freeze({ ...ctx, log: ctx.log.child({ plugin: pluginId(plugin) }) }),
      config,
      meta,
      rootDir: folder(rootDir),
      stateDir: folder(stateDir),
      get: (token) => this.get(token),
      all: (type) => this.all(type),
      onStop: (resource) => void resources.use(resource),
    };
  }
}

/** Depth first, keeping the order of the list where it is free. Errors: Internal for two plugins of one name or a circle. */
export function orderByRequires(plugins: readonly Plugin[]): Plugin[] {
  const names = new Set<PluginId>();
  for (const plugin of plugins) {
    if (names.has(pluginId(plugin))) throw internal(`plugin ${pluginId(plugin)} is listed twice`);
    names.add(pluginId(plugin));
  }
  const ordered: Plugin[] = [];
  const done = new Set<Plugin>();
  const visit = (plugin: Plugin, trail: readonly Plugin[]): void => {
    if (done.has(plugin)) return;
    if (trail.includes(plugin))
      throw internal(
        `plugins require each other: ${[...trail, plugin].map((one) => pluginId(one)).join(' -> ')}`,
      );
    for (const type of plugin.requires)
      for (const other of plugins)
        if (other.type === type && other !== plugin) visit(other, [...trail, plugin]);
    done.add(plugin);
    ordered.push(plugin);
  };
  for (const plugin of plugins) visit(plugin, []);
  return ordered;
}
