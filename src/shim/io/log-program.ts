/**
 * The end of a log program, ours or one that a shim before us started. It ends by itself when all writers are gone. One
 * that is still there when the process is deleted gets a moment for the rest of its input, then SIGTERM, then SIGKILL
 * after 12 s; containerd leaves out the moment, which cuts logs.
 */
import { constants } from 'node:os';
import { raceTime } from '../../base/bounded-wait.ts';
import { hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { SavedLogProgram } from '../../oci/shim-state.ts';
import type { ProcessOperations } from '../../platform/platform.ts';

/** For a logger that is reading the last lines. */
export const finishMs = 250;

type Processes = Pick<ProcessOperations, 'exited' | 'foreignExited' | 'isAlive' | 'kill' | 'startTicks'>;

export class LogProgram {
  readonly saved: SavedLogProgram;
  readonly #processes: Processes;
  readonly #ended: Promise<unknown>;

  private constructor(processes: Processes, saved: SavedLogProgram, ended: Promise<unknown>) {
    this.#processes = processes;
    this.saved = saved;
    this.#ended = ended;
  }

  /** A child of ours. */
  static started(processes: Processes, pid: number): LogProgram {
    const startTicks = processes.startTicks(pid)?.toString();
    return new LogProgram(processes, { pid, startTicks }, processes.exited(pid));
  }

  /** Undefined when it has ended. It is watched until `signal` fires. */
  static adopted(processes: Processes, saved: SavedLogProgram, signal: AbortSignal): LogProgram | undefined {
    if (!isThere(processes, saved)) return undefined;
    // Only that it has ended counts, which is asked again.
    const ended = processes.foreignExited(saved.pid, { signal }).catch(() => {});
    return new LogProgram(processes, saved, ended);
  }

  /** Resolves when it has ended: by itself within `patienceMs`, else by force. */
  async stop(patienceMs: number): Promise<void> {
    if (await this.#isOverWithin(patienceMs)) return;
    this.#signal(constants.signals.SIGTERM);
    if (await this.#isOverWithin(limits.logBinaryTermMs)) return;
    this.#signal(constants.signals.SIGKILL);
    await this.#ended;
  }

  async #isOverWithin(timeoutMs: number): Promise<boolean> {
    await raceTime(this.#ended, timeoutMs);
    return !isThere(this.#processes, this.saved);
  }

  #signal(signal: number): void {
    try {
      if (isThere(this.#processes, this.saved)) this.#processes.kill(this.saved.pid, signal);
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }
}

/** Not one that got its pid. */
const isThere = (processes: Processes, { pid, startTicks }: SavedLogProgram): boolean =>
  processes.isAlive(pid) && processes.startTicks(pid)?.toString() === startTicks;
