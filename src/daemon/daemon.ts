/**
 * The life of a daemon: `Daemon.start` is its start from the lock on the root to readiness, disposal its end.
 *
 * One daemon a root: the kernel holds the lock and drops it with the process, so a crash needs no clean-up. Stopping
 * never stops containers; their shims live on and are found again.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { background } from '../base/context.ts';
import { failedPrecondition } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { PluginGraph } from '../core/plugins/graph.ts';
import type { Plugin } from '../core/plugins/plugin.ts';
import { joinCgroup } from '../platform/cgroups/join-cgroup.ts';
import type { Platform } from '../platform/platform.ts';
import { syncDirectory } from '../platform/sync-directory.ts';
import { InFlightCalls } from '../wire/in-flight.ts';
import { builtins } from './builtins.ts';
import type { Configuration } from './config/daemon-config.ts';
import { describeState } from './debug/state-dump.ts';
import { Deprecations } from './deprecations.ts';
import { notifyServiceManager } from './notify.ts';
import type { Reloads } from './reload/reloads.ts';

/** A daemon that nobody can reach is none. */
const withoutThemNothing = ['io.containerd.server.v1.grpc', 'io.containerd.server.v1.ttrpc'];

export interface DaemonDependencies {
  readonly platform: Platform;
  readonly log: Logger;
  readonly reloads: Reloads;
}

export class Daemon implements AsyncDisposable {
  readonly #dependencies: DaemonDependencies;
  readonly #graph: PluginGraph;
  readonly #calls: InFlightCalls;
  readonly #plugins: readonly Plugin[];
  readonly #resources: AsyncDisposableStack;

  private constructor(
    dependencies: DaemonDependencies,
    parts: {
      graph: PluginGraph;
      calls: InFlightCalls;
      plugins: readonly Plugin[];
      resources: AsyncDisposableStack;
    },
  ) {
    this.#dependencies = dependencies;
    this.#graph = parts.graph;
    this.#calls = parts.calls;
    this.#plugins = parts.plugins;
    this.#resources = parts.resources;
  }

  /**
   * Ready to serve when it resolves. Errors: FailedPrecondition (root in use, address in use, a required plugin
   * failed), InvalidArgument (settings).
   */
  static async start(dependencies: DaemonDependencies, configuration: Configuration): Promise<Daemon> {
    const { platform, log, reloads } = dependencies;
    const { rootDir, stateDir, tempDir, oomScore, cgroupPath, ...config } = configuration.daemon;
    await using resources = new AsyncDisposableStack();

    for (const folder of [rootDir, stateDir]) mkdirSync(folder, { recursive: true, mode: 0o711 });
    resources.use(lockRoot(platform, rootDir));
    if (tempDir !== '') process.env['TMPDIR'] = tempDir;
    if (cgroupPath !== '') joinCgroup(platform.mounts.list(), cgroupPath, process.pid);
    if (oomScore !== 0) setOomScore(dependencies, oomScore);

    const calls = new InFlightCalls();
    const graph = new PluginGraph({
      ctx: background(log),
      rootDir,
      stateDir,
      configOf: (plugin) => configuration.tableOf(plugin),
      requiredPlugins: [...config.requiredPlugins, ...withoutThemNothing],
      disabledPlugins: config.disabledPlugins,
    });
    resources.use(graph);
    const plugins = builtins({
      platform,
      log,
      calls,
      configuration,
      deprecations: new Deprecations(),
      reloads,
      pluginRecords: () => graph.records,
    });
    await graph.start(plugins);
    reloads.on(['timeouts'], (next) => configuration.adoptTimeouts(next));
    reloads.started(configuration);
    // The plugins have made their folders by now: a power cut must not take one with all that is synced in it.
    for (const folder of [path.dirname(rootDir), rootDir]) syncDirectory(folder);
    for (const warning of [...configuration.notes, ...configuration.warnings()]) log.warn({}, warning);

    notifyServiceManager(dependencies, 'READY=1');
    return new Daemon(dependencies, { graph, calls, plugins, resources: resources.move() });
  }

  /** Everything one would ask of a daemon that seems stuck. Plain data, no secrets. */
  describe(): Record<string, unknown> {
    return describeState({ calls: this.#calls, plugins: () => this.#graph.records });
  }

  /** Reads the configuration again; what can change while it runs changes. Never throws. */
  reload(): void {
    this.#dependencies.reloads.reload(this.#plugins);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    notifyServiceManager(this.#dependencies, 'STOPPING=1');
    await this.#resources.disposeAsync();
  }
}

/** Of a daemon or of a check without one. Errors: FailedPrecondition while another process has the root. */
export function lockRoot(platform: Platform, rootDir: string): Disposable {
  const lock = platform.files.tryLock(path.join(rootDir, 'gantryd.lock'));
  if (lock === undefined)
    throw failedPrecondition(
      `another gantryd is running on ${rootDir}: stop it, or give this one a root of its own with --root`,
    );
  return lock;
}

function setOomScore({ platform, log }: Pick<DaemonDependencies, 'platform' | 'log'>, wanted: number): void {
  const set = platform.processes.setOomScoreAdjust(process.pid, wanted);
  if (set !== wanted) log.warn({ wanted, set }, 'oom_score cannot be set as low as configured');
}
