/** The settings of the daemon itself, out of the merged document and the command line. Plugins read their own. */
import path from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import type { StreamProcessor } from '../../core/diff/stream-processor.ts';
import { defaultsTable, type TomlConfigTable, type TomlRecord } from '../../core/plugins/config-table.ts';
import { pluginId } from '../../core/plugins/graph.ts';
import type { ConfigTable, Plugin } from '../../core/plugins/plugin.ts';
import { namedDeadlines } from '../../core/runtime/calls/deadlines.ts';
import { type Sharing, sharings } from '../../core/runtime/shims/shim-group.ts';
import { type LoadedDocument, loadDocument } from './load.ts';
import { currentVersion } from './migrate.ts';
import { type ProxyPluginConfig, readProxyPlugins } from './proxy-plugins.ts';
import { readStreamProcessors } from './stream-processors.ts';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'panic'] as const;
export type LogLevel = (typeof logLevels)[number];
export const logFormats = ['text', 'json'] as const;
export type LogFormat = (typeof logFormats)[number];

export interface CommandLine {
  readonly config?: string;
  readonly address?: string;
  readonly root?: string;
  readonly state?: string;
  readonly logLevel?: string;
}

export interface DaemonConfig {
  readonly rootDir: string;
  readonly stateDir: string;
  /** "" is the system's. */
  readonly tempDir: string;
  readonly oomScore: number;
  /** Control group that the daemon joins, in every hierarchy; "" for the one it was started in. */
  readonly cgroupPath: string;
  readonly disabledPlugins: readonly string[];
  readonly requiredPlugins: readonly string[];
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  /** By containerd's name without its prefix: `shim.load`. */
  readonly timeoutsMs: ReadonlyMap<string, number>;
  readonly shimSharing: Sharing;
  readonly proxyPlugins: readonly ProxyPluginConfig[];
  readonly streamProcessors: readonly StreamProcessor[];
}

const defaults = {
  root: '/var/lib/gantry',
  state: '/run/gantry',
  address: '/run/gantry/gantry.sock',
} as const;

/** The settings and the tables they come from. One is made for a start. */
export class Configuration {
  readonly daemon: DaemonConfig;
  readonly #loaded: LoadedDocument;
  readonly #plugins: TomlConfigTable;
  /** Looked at by each call, so that a reload can change them. */
  readonly #timeoutsMs: Map<string, number>;
  /** Plugin sections that were asked for, by their table, so that the rest can be named. */
  readonly #known = new Map<string, TomlConfigTable>();

  /** Errors: InvalidArgument with file, key and reason; NotFound. */
  constructor(commandLine: CommandLine, loaded: LoadedDocument = loadDocument(commandLine.config)) {
    this.#loaded = loaded;
    const { table } = loaded;
    table.integer('version', currentVersion);
    table.strings('imports', []);
    this.#plugins = table.table('plugins');
    this.#timeoutsMs = readTimeouts(table);
    this.daemon = {
      rootDir: absolute('root', commandLine.root ?? table.string('root', defaults.root)),
      stateDir: absolute('state', commandLine.state ?? table.string('state', defaults.state)),
      tempDir: table.string('temp', ''),
      oomScore: table.integer('oom_score', 0),
      cgroupPath: table.table('cgroup').string('path', ''),
      disabledPlugins: table.strings('disabled_plugins', []),
      requiredPlugins: table.strings('required_plugins', []),
      ...readLog(table, commandLine.logLevel),
      timeoutsMs: this.#timeoutsMs,
      shimSharing: readSharing(table),
      streamProcessors: readStreamProcessors(table.table('stream_processors')),
      proxyPlugins: readProxyPlugins(table.table('proxy_plugins')),
    };
    if (this.daemon.rootDir === this.daemon.stateDir)
      throw invalidArgument(`root and state must be different folders, both are ${this.daemon.rootDir}`);
    // The address of the command line is the setting of the server plugin.
    const grpc = this.#plugins.table('io.containerd.server.v1.grpc');
    this.address = absolute('address', commandLine.address ?? grpc.string('address', defaults.address));
  }

  /** Where the gRPC socket is. */
  readonly address: string;

  /** `HOST:PORT` of the metrics; "" for none. */
  get metricsAddress(): string {
    return this.#plugins.table('io.containerd.server.v1.metrics').string('address', '');
  }

  /** What the files say, in version 4. */
  get document(): TomlRecord {
    return this.#loaded.document;
  }

  get oldestVersion(): number {
    return this.#loaded.oldestVersion;
  }

  /** Takes over from a configuration that was read later what may change while the daemon runs. */
  adoptTimeouts({ daemon }: Configuration): void {
    for (const [name, ms] of daemon.timeoutsMs) this.#timeoutsMs.set(name, ms);
  }

  get notes(): readonly string[] {
    return this.#loaded.notes;
  }

  get files(): readonly string[] {
    return this.#loaded.files;
  }

  /** The table of a plugin; asked for once per plugin by the graph. */
  tableOf(plugin: Pick<Plugin, 'type' | 'id'>): ConfigTable {
    const table = this.#plugins.table(pluginId(plugin));
    this.#known.set(pluginId(plugin), table);
    return table;
  }

  /** One sentence for each key or section that nothing reads. To be asked after all plugins have read theirs. */
  warnings(): string[] {
    const { table } = this.#loaded;
    const warnings: string[] = [];
    for (const key of table.unreadKeys()) {
      if (key.startsWith('plugins.')) continue;
      warnings.push(`unknown key ${key} is ignored`);
    }
    for (const section of this.#plugins.keys()) {
      const known = this.#known.get(section);
      if (known === undefined)
        warnings.push(`plugins.'${section}' is ignored: this build has no such plugin`);
      else
        for (const key of known.unreadKeys())
          warnings.push(`unknown key plugins.'${section}'.${key} is ignored`);
    }
    return warnings;
  }

  /** The document with every setting in force, in version 4. */
  effective(): TomlRecord {
    const document = this.#loaded.table.effective();
    const plugins: TomlRecord = { ...(this.#loaded.document['plugins'] as TomlRecord | undefined) };
    for (const [name, table] of this.#known) {
      const settings = table.effective();
      if (Object.keys(settings).length > 0) plugins[name] = settings;
    }
    // What was imported is in it, and must not be added again.
    return { ...document, version: currentVersion, imports: [], plugins };
  }
}

/** An absent file: what `config default` prints from. */
export const noDocument = (): LoadedDocument => ({
  document: {},
  files: [],
  oldestVersion: currentVersion,
  notes: [],
  table: defaultsTable(''),
});

function absolute(key: string, given: string): string {
  const text = given.replace(/^unix:\/\//, '');
  if (!path.isAbsolute(text))
    throw invalidArgument(`${key}: must be an absolute path, not ${JSON.stringify(given)}`);
  return path.normalize(text);
}

function readLog(table: ConfigTable, flag: string | undefined): Pick<DaemonConfig, 'logLevel' | 'logFormat'> {
  const debug = table.table('debug');
  debug.boolean('log_trace_id', false);
  const level = logLevels.find((word) => word === flag);
  if (flag !== undefined && level === undefined)
    throw invalidArgument(`--log-level: must be one of ${logLevels.join(', ')}, not ${JSON.stringify(flag)}`);
  const configured = oneOf(debug, 'level', logLevels, 'info');
  return { logLevel: level ?? configured, logFormat: oneOf(debug, 'format', logFormats, 'text') };
}

function oneOf<Word extends string>(
  table: ConfigTable,
  key: string,
  words: readonly Word[],
  fallback: Word,
): Word {
  const given = table.string(key, fallback);
  if (given === '') return fallback;
  const word = words.find((candidate) => candidate === given);
  if (word === undefined)
    throw table.wrong(key, `must be one of ${words.join(', ')}, not ${JSON.stringify(given)}`);
  return word;
}

const prefixes = ['io.containerd.timeout.', 'io.gantry.timeout.'];

/** Names of containerd that have nothing to bound here: the database has no lock to wait for. */
const boundless = ['bolt.open', 'cri.defercleanup'].map((name) => `io.containerd.timeout.${name}`);

/** Each may be written with either prefix. */
function readTimeouts(table: ConfigTable): Map<string, number> {
  const timeouts = table.table('timeouts');
  for (const key of boundless) if (timeouts.has(key)) timeouts.durationMs(key, 0);
  return new Map(
    namedDeadlines.map(({ name, prefix, defaultMs }) => {
      const given = prefixes.map((one) => one + name).find((key) => timeouts.has(key));
      return [name, timeouts.durationMs(given ?? prefix + name, defaultMs)];
    }),
  );
}

/** Which containers share a shim process. */
function readSharing(table: ConfigTable): Sharing {
  return oneOf(table.table('shim'), 'sharing', sharings, 'node');
}
