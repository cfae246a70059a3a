/**
 * Shim processes that nobody can reach: started for a bundle and never connected to, or dead to the world. A shim of the
 * standard protocol is started in its bundle and stays there, which is how it is known again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { SIGKILL } from '../../../platform/signals.ts';
import type { DaemonAddresses } from '../shims/foreign-shim.ts';
import type { Bundle } from '../tasks/bundle.ts';

interface LeftBehindDependencies {
  readonly processes: Pick<ProcessOperations, 'list' | 'kill' | 'environment' | 'workingDirectory'>;
  readonly log: Logger;
}

/** A look that found something is followed by another: a process may have had a child meanwhile. */
const mostLooks = 20;
const betweenLooksMs = 5;

/**
 * Kills what works in the bundle's directory and was given our address, until a look finds nothing more. A user's shell
 * was not, and containers have their directories in a root of their own.
 */
export async function killLeftBehind(
  deps: LeftBehindDependencies,
  bundle: Bundle,
  { ttrpcAddress }: Pick<DaemonAddresses, 'ttrpcAddress'>,
): Promise<void> {
  for (let look = 0; look < mostLooks; look++) {
    if (!killFound(deps, bundle, `TTRPC_ADDRESS=${ttrpcAddress}`)) return;
    await sleep(betweenLooksMs);
  }
}

/** True when there may be more: something was killed, or does not show yet whose it is. */
function killFound({ processes, log }: LeftBehindDependencies, bundle: Bundle, mark: string): boolean {
  let again = false;
  for (const pid of processes.list()) {
    if (pid === process.pid || processes.workingDirectory(pid) !== bundle.path) continue;
    const environment = processes.environment(pid);
    // In the middle of execve(2) a process shows none for a moment.
    if (environment.length > 0 && !environment.includes(mark)) continue;
    if (environment.length === 0) again = true;
    else
      try {
        processes.kill(pid, SIGKILL);
        again = true;
        log.warn(
          { pid, namespace: bundle.namespace, id: bundle.id },
          'killed a process that a shim left behind',
        );
      } catch (error) {
        if (!hasCode(error, 'NotFound')) log.warn({ error, pid }, 'could not kill what a shim left behind');
      }
  }
  return again;
}
