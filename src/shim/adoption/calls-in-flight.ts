/**
 * The runc processes that a killed shim left at work. Each names its log in the bundle of its container, so all of
 * them are found in one look at /proc, and nothing has to be written when they are started.
 */
import { readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { hasCode } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { ProcessOperations } from '../../platform/platform.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { logPrefix } from '../runc/runc.ts';

/** What a runc may still take; hooks are slow. Then it is ended: the shim must get ready. */
const callEndMs = 8_000;
const killedMs = 1_000;
/** Pids by bundle. */
export function runcCalls(
  processes: Pick<ProcessOperations, 'list' | 'arguments'>,
): ReadonlyMap<string, readonly number[]> {
  const calls = new Map<string, number[]>();
  for (const pid of processes.list()) {
    const bundle = bundleIn(processes.arguments(pid));
    if (bundle !== undefined) calls.set(bundle, [...(calls.get(bundle) ?? []), pid]);
  }
  return calls;
}

/** The bundle of a runc's command line; undefined for other programs. */
export function bundleIn(words: readonly string[]): string | undefined {
  const log = words[words.indexOf('--log') + 1];
  return words.includes('--log') && log !== undefined && basename(log).startsWith(logPrefix)
    ? dirname(log)
    : undefined;
}

/** Resolves when all have ended, by themselves or by force; true when none needed it. */
export async function callsEnded(
  { processes, log }: { processes: ProcessOperations; log: Logger },
  pids: readonly number[],
  { endMs = callEndMs }: { readonly endMs?: number } = {},
): Promise<boolean> {
  const ended = await Promise.all(
    pids.map(async (pid) => {
      if (await endedWithin(processes, pid, endMs)) return true;
      log.warn(
        { pid, words: processes.arguments(pid) },
        'ended a runc that a shim before this one left hanging',
      );
      kill(processes, pid);
      await endedWithin(processes, pid, killedMs);
      return false;
    }),
  );
  return !ended.includes(false);
}

async function endedWithin(processes: ProcessOperations, pid: number, timeoutMs: number): Promise<boolean> {
  try {
    await processes.foreignExited(pid, { signal: AbortSignal.timeout(timeoutMs) });
    return true;
  } catch (error) {
    // It ended, and only its status was still waited for.
    if (hasCode(error, 'DeadlineExceeded')) return !processes.isAlive(pid);
    throw error;
  }
}

function kill(processes: ProcessOperations, pid: number): void {
  try {
    processes.kill(pid, SIGKILL);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}

/** Logs of those calls: nobody reads them any more, and the next ones would be taken for longer than they are. */
export function removeLogs(bundle: string): void {
  for (const name of readdirSync(bundle))
    if (name.startsWith(logPrefix) && name.endsWith('.log')) rmSync(join(bundle, name), { force: true });
}
