/**
 * Starts a process that goes on in the background, and waits until it says that it serves: it writes `readyWord`, or what
 * went wrong, to the pipe that it has as descriptor 3, and closes it. So nobody has to ask it again and again. One that
 * ends closes the pipe as well, before it can be seen to have ended.
 */
import { closeSync } from 'node:fs';
import { raceSignal } from '../base/bounded-wait.ts';
import { hasCode, unavailable, wrap } from '../base/errors.ts';
import { joinCgroup } from './cgroups/join-cgroup.ts';
import { makePipe } from './pipe.ts';
import type { Platform, StdioTarget } from './platform.ts';
import { SIGKILL } from './signals.ts';

export const readyWord = 'ready\n';

export interface ReadyProcessDependencies {
  readonly platform: Pick<Platform, 'files' | 'mounts' | 'processes'>;
  /** Reads a pipe to its end; destroying it closes the descriptor, which it owns. */
  readonly readPipe: (fd: number) => AsyncIterable<Uint8Array> & { destroy(): unknown };
}

export interface ReadyProcess {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Its standard error; belongs to the caller. */
  readonly log: StdioTarget;
  /** It joins this cgroup; "" for ours. */
  readonly cgroup: string;
  readonly oomScoreAdjust: number;
  /** Called before it is ready, for what must be known of it in any case. */
  readonly onSpawned?: (pid: number) => void;
}

/**
 * Its pid, in a session of its own. Errors: Unavailable with what it said, or that it ended; NotFound (no such program);
 * Canceled, DeadlineExceeded. No process is left then.
 */
export async function spawnUntilReady(
  { platform, readPipe }: ReadyProcessDependencies,
  request: ReadyProcess,
  { signal }: { signal: AbortSignal },
): Promise<number> {
  const { processes } = platform;
  const ready = makePipe(platform.files);
  const reader = readPipe(ready.readFd);
  try {
    const pid = spawn(platform, request, ready.writeFd);
    try {
      request.onSpawned?.(pid);
      if (request.cgroup !== '') joinCgroup(platform.mounts.list(), request.cgroup, pid);
      const said = await textOf(reader, signal);
      if (said === '') throw unavailable('it ended as soon as it was started; see its log');
      if (said !== readyWord) throw unavailable(said);
      processes.setOomScoreAdjust(pid, request.oomScoreAdjust);
      return pid;
    } catch (error) {
      kill(processes, pid);
      throw error;
    }
  } finally {
    reader.destroy();
  }
}

/** `writeFd` is closed here in any case: only the process may hold it. */
function spawn(
  { processes }: Pick<Platform, 'processes'>,
  { file, args, env, log }: ReadyProcess,
  writeFd: number,
): number {
  try {
    const stdio = ['null', 'null', log, writeFd] as const;
    const pid = processes.spawn({ file, args, cwd: '/', env, stdio, newSession: true });
    // Reaped when it ends; nobody waits for it.
    processes.exited(pid).catch(() => {});
    return pid;
  } finally {
    closeSync(writeFd);
  }
}

async function textOf(reader: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string> {
  const read = async (): Promise<string> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of reader) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  };
  const reading = read();
  reading.catch(() => {});
  try {
    return await raceSignal(reading, signal);
  } catch (error) {
    throw wrap('it was not ready in time', error);
  }
}

function kill(processes: Platform['processes'], pid: number): void {
  try {
    processes.kill(pid, SIGKILL);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}
