/**
 * One process of a container as clients see it: init or an exec. Where it stands, what it is connected to and how it
 * ended.
 *
 * created ─► running ─► stopped; an init may be paused while it runs. `exited` is known when the kernel says so;
 * `ended` resolves when the exit has been announced, which is what callers of wait and delete may rely on.
 *
 * `step` and `announced` are what the bundle says of it, for a later shim; who changes them saves the container.
 */
import { absent, failedPrecondition } from '../../base/errors.ts';
import { type Instant, instantOfNs, now } from '../../base/time.ts';
import type { Announced, SavedPhase, SavedProcess } from '../../oci/shim-state.ts';
import type { ProcessExit, TerminalSize } from '../../platform/platform.ts';
import { Attachments } from '../io/attachments.ts';
import { parseCriTarget } from '../io/log-uri.ts';
import type { IoPaths, ProcessStdio } from '../io/stdio.ts';
import type { Terminal } from '../io/terminal.ts';
import { wrongProcessState } from './wrong-state.ts';

export type Phase = 'created' | 'running' | 'stopped';

export interface ProcessEnd {
  readonly pid: number;
  readonly status: number;
  readonly exitedAt: Instant | undefined;
}

/** Either relayed by us or the process's own. */
export type ProcessStreams =
  | { readonly kind: 'direct'; readonly stdio: ProcessStdio }
  | { readonly kind: 'terminal'; readonly terminal: Terminal };

export class TaskProcess {
  /** The container's id for init, the exec id otherwise. */
  readonly id: string;
  readonly io: IoPaths;
  /** Clients of its streams; undefined where they do not pass through us. */
  readonly attachments: Attachments | undefined;
  readonly ended = Promise.withResolvers<ProcessEnd>();
  pid = 0;
  startTicks: bigint | undefined;
  /** Made by a shim before this one: no child of ours, so its pid may be another's as soon as it has ended. */
  isAdopted = false;
  streams: ProcessStreams | undefined;
  announced: Announced = 'nothing';
  #step: SavedPhase = 'created';
  #started = false;
  #stdinClosed = false;
  #phase: Phase = 'created';
  #exit: ProcessExit | undefined;
  #starting: Promise<void> | undefined;

  constructor(id: string, io: IoPaths) {
    this.id = id;
    this.io = io;
    const target = parseCriTarget(io.stdout);
    const once = parseCriTarget(io.stdin)?.once === true;
    this.attachments = target && new Attachments({ once });
  }

  /** As a shim before us saved it; without its streams. */
  static adopt(saved: SavedProcess): TaskProcess {
    const adopted = new TaskProcess(saved.id, saved.io);
    adopted.isAdopted = true;
    adopted.pid = saved.pid;
    adopted.startTicks = saved.startTicks === undefined ? undefined : BigInt(saved.startTicks);
    adopted.#step = saved.phase;
    adopted.#started = saved.started;
    adopted.announced = saved.announced;
    adopted.#stdinClosed = saved.stdinClosed;
    adopted.#exit = saved.exit && {
      pid: saved.pid,
      status: saved.exit.status,
      exitedAt: instantOfNs(BigInt(saved.exit.exitedAt)),
    };
    return adopted;
  }

  /** Of one that ended before anybody was told that it runs. */
  foresee(exit: ProcessExit): void {
    this.#exit = exit;
  }

  /** What `adopt` takes. */
  saved(): SavedProcess {
    return {
      id: this.id,
      phase: this.#step,
      pid: this.pid,
      startTicks: this.startTicks?.toString(),
      started: this.#started,
      io: this.io,
      lateOutputs: this.streams?.kind === 'direct' ? this.streams.stdio.lateOutputs : [],
      logProgram: this.streams?.kind === 'direct' ? this.streams.stdio.logProgram : undefined,
      stdinClosed: this.#stdinClosed,
      exit: this.#exit && { status: this.#exit.status, exitedAt: String(this.#exit.exitedAt) },
      announced: this.announced,
    };
  }

  get step(): SavedPhase {
    return this.#step;
  }

  set step(step: SavedPhase) {
    this.#step = step;
    if (step === 'running') this.#started = true;
  }

  /** Its start came to its end, whatever has become of it. */
  get wasStarted(): boolean {
    return this.#started;
  }

  get phase(): Phase {
    return this.#phase;
  }

  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  get stdinClosed(): boolean {
    return this.#stdinClosed;
  }

  /** A start that is under way; its announcement comes before that of the exit. */
  get starting(): Promise<void> {
    return this.#starting ?? Promise.resolve();
  }

  /**
   * Runs `start` once, from the phase "created". A failed init may be started again.
   * Errors: Unknown when it was started before.
   */
  async startOnce(start: () => Promise<void>): Promise<void> {
    if (this.#phase !== 'created') throw wrongProcessState('start', this.#phase);
    if (this.#starting !== undefined) throw wrongProcessState('start', 'running');
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#starting = promise;
    try {
      await start();
      this.#phase = 'running';
    } catch (error) {
      this.#starting = undefined;
      throw error;
    } finally {
      resolve();
    }
  }

  /** Of an adopted process that a shim before us has started. */
  markRunning(): void {
    this.step = 'running';
    this.#phase = 'running';
    this.#starting ??= Promise.resolve();
  }

  /** The kernel reported the end. Writers without a reader are let go, so that readers see the end. */
  markExited(exit: ProcessExit): void {
    this.#exit = exit;
    this.#phase = 'stopped';
    this.step = 'stopped';
    if (this.streams?.kind === 'direct') this.streams.stdio.ended();
  }

  /** Errors: FailedPrecondition before it has a pid, NotFound when it has ended. */
  requireAlive(): number {
    if (this.#phase === 'stopped') throw absent('process already finished');
    if (this.pid === 0) throw failedPrecondition(`process ${this.id} has not been started yet`);
    return this.pid;
  }

  /** It could not be started and never will be: whoever waits learns it. */
  markFailed(): void {
    this.#phase = 'stopped';
    this.step = 'stopped';
    this.attachments?.end();
    this.ended.resolve({ pid: 0, status: 255, exitedAt: now() });
  }

  /** Not an error when there is no terminal: a resize may cross with the exit. */
  resize(size: TerminalSize): void {
    if (this.streams?.kind === 'terminal') this.streams.terminal.resize(size);
  }

  closeStdin(): void {
    this.#stdinClosed = true;
    if (this.streams?.kind === 'terminal') this.streams.terminal.closeStdin();
    else this.streams?.stdio.closeStdin();
  }

  /** What passes through us has been passed on, or the time is up. Everything else needs no relay. */
  async drained(timeoutMs: number): Promise<void> {
    if (this.streams?.kind === 'terminal') await this.streams.terminal.drained(timeoutMs);
    else await this.streams?.stdio.drained?.(timeoutMs);
  }

  /** Errors: FailedPrecondition without a log that is ours to write; of the file system. */
  reopenLog(): void {
    const holder = this.streams?.kind === 'terminal' ? this.streams.terminal : this.streams?.stdio;
    if (holder?.reopen === undefined)
      throw failedPrecondition(`process ${this.id} has no log that could be opened anew`);
    holder.reopen();
  }

  async closeStreams(): Promise<void> {
    const streams = this.streams;
    this.streams = undefined;
    this.attachments?.end();
    if (streams?.kind === 'terminal') await streams.terminal[Symbol.asyncDispose]();
    else await streams?.stdio[Symbol.asyncDispose]();
  }
}
