/**
 * The way to one shim, which outlives the shim's process where the shim is ours: a connection that was lost is opened
 * again, to a new process that has taken over the containers. A foreign shim has one connection and no second life.
 */
import { backoffMs, pause } from '../../../base/backoff.ts';
import { raceSignal } from '../../../base/bounded-wait.ts';
import { never } from '../../../base/context.ts';
import { hasCode, unavailable, wrap } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import type { Logger } from '../../../base/logger.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { identify, type ProcessIdentity, signalIdentified } from '../../../platform/process-identity.ts';
import { SIGKILL } from '../../../platform/signals.ts';
import type { CallOptions } from '../../../wire/service.ts';
import type { BoundedMethod } from '../calls/deadlines.ts';
import type { GantryShim } from './gantry-shim.ts';
import { type Answer, callAgain, type Request } from './repeat-rules.ts';
import type { ShimAddress } from './shim-address.ts';
import { ShimConnection } from './shim-connection.ts';

/** What a link needs of a shim that can be started again. */
export type RestartableShim = Pick<
  GantryShim,
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
  readonly gantry: RestartableShim | undefined;
  /** Tasks that are there or being made; the link goes with the last of them. */
  readonly holders = new Set<object>();
  readonly #dependencies: ShimLinkDependencies;
  #connection: ShimConnection | undefined;
  #opening: Promise<ShimConnection> | undefined;
  #process: ProcessIdentity | undefined;
  #ended = false;

  constructor(
    dependencies: ShimLinkDependencies,
    shim: { address: ShimAddress; gantry: RestartableShim | undefined },
  ) {
    this.#dependencies = dependencies;
    this.address = shim.address;
    this.gantry = shim.gantry;
  }

  get isGantry(): boolean {
    return this.gantry !== undefined;
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

  /**
   * A call that goes on when the shim dies under it, where the shim is ours: see repeat-rules.ts. Errors: what the shim
   * answers; DeletedMeanwhile; Unavailable when no shim could take over, or `method` cannot be repeated; those of the
   * options' signal and time.
   */
  async call<M extends BoundedMethod>(
    method: M,
    request: Request<M>,
    options: CallOptions,
  ): Promise<Answer<M>> {
    const signal = options.signal ?? never;
    let connection = await this.connection({ signal });
    let perform: () => Promise<Answer<M>> = () => connection.call(method, request, options);
    for (let repeats = 0; ; repeats += 1) {
      try {
        return await perform();
      } catch (error) {
        const isOver = !this.isGantry || repeats >= limits.shimCallRepeats;
        if (!(await diedUnder(connection, error, signal)) || isOver) throw error;
        const leaving = hasCode(error, 'Aborted');
        connection = await this.connection({ signal });
        // One that was about to leave has refused, and not begun.
        perform = leaving
          ? () => connection.call(method, request, options)
          : () => callAgain(connection, method, request, options);
      }
    }
  }

  /** The shim said which process it is. */
  learnProcess(pid: number): void {
    this.#process = identify(this.#dependencies.processes, pid) ?? this.#process;
  }

  /** The shim's process as far as it is known. */
  async process(): Promise<ProcessIdentity | undefined> {
    return this.#process ?? (await this.gantry?.processIdentity());
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
    this.gantry?.[Symbol.dispose]();
  }

  async #open(): Promise<ShimConnection> {
    const connection =
      this.gantry === undefined ? await this.#openForeign() : await this.#openGantry(this.gantry);
    if (this.#ended) {
      await connection[Symbol.asyncDispose]();
      throw unavailable('ttrpc: closed');
    }
    this.#connection = connection;
    connection.watch(() => {
      this.#connection = undefined;
      this.#process = undefined;
      if (!this.isGantry) this.#ended = true;
      this.#dependencies.onLost(this);
    });
    return connection;
  }

  #openForeign(): Promise<ShimConnection> {
    return ShimConnection.open(this.address, { signal: AbortSignal.timeout(limits.shimStartMs) });
  }

  /** More than once, for what goes wrong may be a matter of a moment, and giving up costs the containers. */
  async #openGantry(gantry: RestartableShim): Promise<ShimConnection> {
    await this.#dependencies.vacated(gantry.directory);
    for (let tries = 1; ; tries += 1)
      try {
        return await gantry.connect({ signal: AbortSignal.timeout(limits.shimAdoptMs) });
      } catch (error) {
        const { directory } = gantry;
        if (tries >= limits.shimStarts) throw wrap(`no shim could be started in ${directory}`, error);
        this.#dependencies.log.warn({ error, directory, tries }, 'no shim could be started, trying again');
        await pause(backoffMs(tries, { firstMs: limits.shimStartPauseMs }));
      }
  }
}

/** A shim that holds nothing may be leaving just now: it says Aborted, and ends. */
async function diedUnder(connection: ShimConnection, error: unknown, signal: AbortSignal): Promise<boolean> {
  if (!hasCode(error, 'Aborted')) return connection.lostBy(error);
  await raceSignal(connection.closed, AbortSignal.any([signal, AbortSignal.timeout(limits.shimStartMs)]));
  return true;
}
