/**
 * Where plugins come in: those that connect to the socket, and those that are installed and started here. What speaks with
 * them is loaded with the first one, so that a daemon without plugins pays for a directory that it reads and a socket.
 */
import type { Socket } from 'node:net';
import { ContainerdError } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import type { Platform } from '../../platform/platform.ts';
import { UnixListener } from '../../wire/unix-listener.ts';
import type { NriPluginOptions } from './nri-plugin.ts';
import type { NriDomain, NriRuntime, NriRuntimeOptions } from './nri-runtime.ts';
import {
  configurationOf,
  findPreinstalled,
  type PreinstalledPlugin,
  type StartedPlugin,
  startPreinstalled,
} from './preinstalled.ts';

export interface NriGateDependencies {
  readonly platform: Pick<Platform, 'processes' | 'sockets'>;
  readonly log: Logger;
}

export interface NriGateOptions extends NriRuntimeOptions {
  readonly disableConnections: boolean;
  readonly socketPath: string;
  readonly pluginPath: string;
  readonly pluginConfigPath: string;
}

export class NriGate implements AsyncDisposable {
  readonly #deps: NriGateDependencies;
  readonly #options: NriGateOptions;
  readonly #started = new Set<StartedPlugin>();
  readonly #sockets = new Set<Socket>();
  #listener: UnixListener | undefined;
  #loading: Promise<NriRuntime> | undefined;
  #runtime: NriRuntime | undefined;
  #isStopping = false;

  constructor(dependencies: NriGateDependencies, options: NriGateOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** Whom to tell of pods and containers; undefined while there is nobody who wants to know. */
  get runtime(): NriRuntime | undefined {
    return this.#runtime;
  }

  /**
   * Starts the installed plugins, in their order, and takes connections. A plugin that cannot be had is told in the log and
   * left out; so are connections when another runtime has the socket.
   */
  async start(domain: NriDomain): Promise<void> {
    const { log } = this.#deps;
    const { pluginPath, validator, disableConnections } = this.#options;
    const installed = await findPreinstalled(log, pluginPath);
    if (installed.length > 0 || validator.enable) await this.#load(domain);
    for (const plugin of installed) await this.#launch(domain, plugin);
    if (!disableConnections) await this.#listen(domain);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    await this.#listener?.close();
    await (await this.#loading)?.[Symbol.asyncDispose]();
    for (const socket of this.#sockets) socket.destroy();
    for (const started of this.#started) started.kill();
    await Promise.allSettled([...this.#started].map(({ ended }) => ended));
  }

  async #load(domain: NriDomain): Promise<NriRuntime> {
    this.#loading ??= import('./nri-runtime.ts').then((loaded) => {
      this.#runtime = new loaded.NriRuntime({ log: this.#deps.log, domain }, this.#options);
      return this.#runtime;
    });
    return this.#loading;
  }

  async #launch(domain: NriDomain, plugin: PreinstalledPlugin): Promise<void> {
    const { platform, log } = this.#deps;
    try {
      const config = await configurationOf(plugin, this.#options.pluginConfigPath);
      const started = await startPreinstalled(platform, plugin);
      this.#started.add(started);
      started.socket.once('close', () => started.kill());
      void started.ended.finally(() => this.#started.delete(started)).catch(() => {});
      const { index, name } = plugin;
      await this.#join(domain, started.socket, { index, name, config });
    } catch (error) {
      log.error(
        { file: plugin.file, error: ContainerdError.from(error) },
        'an NRI plugin could not be started',
      );
    }
  }

  async #listen(domain: NriDomain): Promise<void> {
    const { platform, log } = this.#deps;
    const { socketPath } = this.#options;
    try {
      this.#listener = await UnixListener.listen(platform, socketPath, { mode: 0o600 });
    } catch (error) {
      log.warn({ socketPath, error: ContainerdError.from(error) }, 'NRI plugins cannot connect');
      return;
    }
    this.#listener.onConnection(({ socket }) => {
      if (this.#isStopping || this.#sockets.size >= limits.nriPlugins) {
        log.warn({ plugins: this.#sockets.size }, 'refused a connection of an NRI plugin');
        socket.destroy();
        return;
      }
      this.#join(domain, socket).catch((error: unknown) => {
        log.error({ error: ContainerdError.from(error) }, 'an NRI plugin that connected is left out');
      });
    });
  }

  async #join(
    domain: NriDomain,
    socket: Socket,
    preinstalled?: NriPluginOptions['preinstalled'],
  ): Promise<void> {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    // Nobody else listens before it is loaded.
    const onError = (): void => {};
    socket.on('error', onError);
    const runtime = await this.#load(domain);
    await runtime.join(socket, preinstalled);
  }
}
