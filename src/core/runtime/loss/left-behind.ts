/**
 * Shim processes that nobody can reach: started for a bundle and never connected to, or dead to the world. A shim of the
 * standard protocol is started in its bundle and stays there, which is how it is known again.
 */
import { hasCode } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { SIGKILL } from '../../../platform/signals.ts';
import type { DaemonAddresses } from '../shims/foreign-shim.ts';
import type { Bundle } from '../tasks/bundle.ts';

/**
 * Kills what works in the bundle's directory and was given our address. A user's shell was not, and containers have
 * their directories in a root of their own.
 */
export function killLeftBehind(
  { processes, log }: { readonly processes: ProcessOperations; readonly log: Logger },
  bundle: Bundle,
  { ttrpcAddress }: Pick<DaemonAddresses, 'ttrpcAddress'>,
): void {
  for (const pid of processes.list()) {
    if (pid === process.pid || processes.workingDirectory(pid) !== bundle.path) continue;
    if (!processes.environment(pid).includes(`TTRPC_ADDRESS=${ttrpcAddress}`)) continue;
    try {
      processes.kill(pid, SIGKILL);
      log.warn(
        { pid, namespace: bundle.namespace, id: bundle.id },
        'killed a process that a shim left behind',
      );
    } catch (error) {
      if (!hasCode(error, 'NotFound')) log.warn({ error, pid }, 'could not kill what a shim left behind');
    }
  }
}
