/**
 * A plugin is a plain value. The daemon lists them (daemon/builtins), the graph here puts them in order, and what
 * comes out is what `ctr plugins ls` shows. Types and ids are containerd's own.
 */

import type { Brand } from '../../base/brand.ts';
import type { Context } from '../../base/context.ts';
import type { Platform } from '../../oci/platform.ts';

/** `io.containerd.content.v1` and so on. */
export type PluginType = `io.containerd.${string}` | `io.gantry.${string}`;
/** `TYPE.ID`, as required_plugins and disabled_plugins name it. */
export type PluginId = Brand<string, 'PluginId'>;

/** What an init function may say beside the instance. */
export interface PluginMeta {
  platforms: Platform[];
  capabilities: string[];
  exports: Record<string, string>;
}

export interface PluginContext<Config> {
  readonly ctx: Context;
  readonly config: Config;
  readonly meta: PluginMeta;
  /** Persistent directory of this plugin, made on first use: `<root>/TYPE.ID`. */
  readonly rootDir: () => string;
  /** Volatile directory: `<state>/TYPE.ID`. */
  readonly stateDir: () => string;
  /** The one instance of a required type (and id). Errors: NotFound when it failed or is disabled. */
  readonly get: <Instance>(token: PluginToken<Instance>) => Instance;
  /** All working instances of a type by id. */
  readonly all: <Instance>(type: PluginTypeToken<Instance>) => ReadonlyMap<string, Instance>;
  /** Disposed in reverse order when the daemon stops. */
  readonly onStop: (resource: AsyncDisposable | Disposable) => void;
}

/** Names a plugin with the type of what it gives. */
export interface PluginToken<Instance> {
  readonly type: PluginType;
  readonly id: string;
  readonly _instance?: Instance;
}
export interface PluginTypeToken<Instance> {
  readonly type: PluginType;
  readonly _instance?: Instance;
}

/** Turns the table of config.toml into typed settings. Throws InvalidArgument naming key and reason. */
export type ConfigReader<Config> = (table: ConfigTable) => Config;

/** A TOML table that knows where it came from and which keys were read, so that unknown ones can be named. */
export interface ConfigTable {
  readonly path: string;
  string(key: string, fallback: string): string;
  boolean(key: string, fallback: boolean): boolean;
  integer(key: string, fallback: number): number;
  number(key: string, fallback: number): number;
  /** Go duration text ("5s", "100ms") to milliseconds. */
  durationMs(key: string, fallbackMs: number): number;
  strings(key: string, fallback: readonly string[]): readonly string[];
  table(key: string): ConfigTable;
  tables(key: string): readonly ConfigTable[];
  has(key: string): boolean;
  keys(): readonly string[];
  unreadKeys(): readonly string[];
  /** The error for a value of the right type that will not do: InvalidArgument with file, key and `reason`. */
  wrong(key: string, reason: string): Error;
}

export interface Plugin<Instance = unknown, Config = unknown> {
  readonly type: PluginType;
  readonly id: string;
  /** Types (all of their ids) that must be started before. */
  readonly requires: readonly PluginType[];
  readonly config: ConfigReader<Config>;
  /** Throw SkipPlugin when it does not apply to this machine. */
  readonly init: (plugin: PluginContext<Config>) => Instance | Promise<Instance>;
}

/** "skip plugin": shown as skipped, not as failed. */
export class SkipPlugin extends Error {
  constructor(reason: string) {
    super(`${reason}: skip plugin`);
    this.name = 'SkipPlugin';
  }
}
