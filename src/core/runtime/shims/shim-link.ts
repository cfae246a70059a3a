/**
 * The way to one shim, which outlives the shim's process where the shim is ours: a connection that was lost is opened
 * again, to a new process that has taken over the containers. A foreign shim has one connection and no second life.
 */
import { setTimeout as after } from 'node:timers/promises';
import { unavailable, wrap } from '../../../base/errors.ts';
import { raceSignal } from '../../../base/keyed-lock.ts';
import { limits } from '../../../base/limits.ts';
import type { Logger } from '../../../base/logger.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { identify, type ProcessIdentity, signalIdentified } from '../../../platform/process-identity.ts';
import type { SharedShim } from './gantry-shim.ts';
import type { ShimAddress } from './shim-address.ts';
import { ShimConnection } from './shim-connection.ts';

const SIGKILL = 9;

/** What a link needs of a shim that can be started again. */
export type OwnShim = Pick<
  SharedShim,
  'address' | 'directory' | 'connect' | 'processIdentity' | typeof Symbol.dispose
>;

export interface ShimLinkDependencies {
  readonly processes: Pick<ProcessOperations, 'kill' | 'startTicks'>;
  readonly log: Logger;
  /** Hears of every connection that ended without us. */
  readonly onLost: (link: ShimLink) => void;
  /** Resolves when an earlier shim's directory is out of the way. */
  readonly vacated: (directory: string) => Promise<void>;
}

export class ShimLink implements AsyncDisposable {
  readonly address: ShimAddress;
  /** Undefined for a foreign shim. */
  readonly shared: OwnShim | undefined;
  /** Tasks that are there or being made; the link goes with the last of them. */
  readonly holders = new Set<object>();
  readonly #dependencies: ShimLinkDependencies;
  #connection: ShimConnection | undefined;
  #opening: Promise<ShimConnection> | undefined;
  #process: ProcessIdentity | undefined;
  #ended = false;

  constructor(
    dependencies: ShimLinkDependencies,
    shim: { address: ShimAddress; shared: OwnShim | undefined },
  ) {
    this.#dependencies = dependencies;
    this.address = shim.address;
    this.shared = shim.shared;
  }

  get isOurs(): boolean {
    return this.shared !== undefined;
  }

  /** The open connection, if there is one. */
  get current(): ShimConnection | undefined {
    return this.#connection;
  }

  /**
   * The open connection, or a new one. Errors: Unavailable when a foreign shim has died, or no process of ours could take
   * over; Canceled, DeadlineExceeded by the signal.
   */
  async connection({ signal }: { signal: AbortSignal }): Promise<ShimConnection> {
    if (this.#connection !== undefined) return this.#connection;
    if (this.#ended) throw unavailable('ttrpc: closed');
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    this.#opening.catch(() => {});
    return raceSignal(this.#opening, signal);
  }

  /** The shim said which process it is. */
  learnProcess(pid: number): void {
    this.#process = identify(this.#dependencies.processes, pid) ?? this.#process;
  }

  /** The shim's process as far as it is known. */
  async process(): Promise<ProcessIdentity | undefined> {
    return this.#process ?? (await this.shared?.processIdentity());
  }

  /** Kills the process behind `connection`, if that is still the one. False when it is not known, or gone. */
  async kill(connection: ShimConnection): Promise<boolean> {
    const identity = await this.process();
    if (identity === undefined || this.#connection !== connection) return false;
    return signalIdentified(this.#dependencies.processes, identity, SIGKILL);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await this.#connection?.[Symbol.asyncDispose]();
    this.#connection = undefined;
    this.shared?.[Symbol.dispose]();
  }

  async #open(): Promise<ShimConnection> {
    const connection =
      this.shared === undefined ? await this.#openForeign() : await this.#openOurs(this.shared);
    if (this.#ended) {
      await connection[Symbol.asyncDispose]();
      throw unavailable('ttrpc: closed');
    }
    this.#connection = connection;
    connection.watch(() => {
      this.#connection = undefined;
      this.#process = undefined;
      if (!this.isOurs) this.#ended = true;
      this.#dependencies.onLost(this);
    });
    return connection;
  }

  #openForeign(): Promise<ShimConnection> {
    return ShimConnection.open(this.address, { signal: AbortSignal.timeout(limits.shimStartMs) });
  }

  /** More than once, for what goes wrong may be a matter of a moment, and giving up costs the containers. */
  async #openOurs(shared: OwnShim): Promise<ShimConnection> {
    await this.#dependencies.vacated(shared.directory);
    for (let tries = 1; ; tries += 1)
      try {
        return await shared.connect({ signal: AbortSignal.timeout(limits.shimAdoptMs) });
      } catch (error) {
        const { directory } = shared;
        if (tries >= limits.shimStarts) throw wrap(`no shim could be started in ${directory}`, error);
        this.#dependencies.log.warn({ error, directory, tries }, 'no shim could be started, trying again');
        await after(limits.shimStartPauseMs * 2 ** (tries - 1));
      }
  }
}
