/**
 * Plugins that outlive the daemon that started them: one that still adds while what it added so far is taken back would
 * leave the rest for ever. They are known by what they were told in their environment.
 */

import { hasCode } from '../../base/errors.ts';
import type { ProcessOperations } from '../../platform/platform.ts';
import { SIGKILL } from '../../platform/signals.ts';

export type LeftPluginProcesses = Pick<
  ProcessOperations,
  'list' | 'environment' | 'isGroupLeader' | 'kill' | 'foreignExited'
>;

/**
 * Kills them with their children and waits for their end. Only for a pod that no plugin of this process works on.
 * Errors: Canceled, DeadlineExceeded.
 */
export async function endLeftPlugins(
  processes: LeftPluginProcesses,
  podId: string,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  // A plugin that another one runs (IPAM) is told the same, and is in the group of the first.
  const left = processes.list().filter((pid) => {
    const environment = processes.environment(pid);
    return environment.includes(`CNI_CONTAINERID=${podId}`) && environment.some(isCommand);
  });
  for (const pid of left) kill(processes, processes.isGroupLeader(pid) ? -pid : pid);
  await Promise.all(left.map(async (pid) => processes.foreignExited(pid, { signal })));
}

const isCommand = (entry: string): boolean => entry.startsWith('CNI_COMMAND=');

function kill(processes: LeftPluginProcesses, target: number): void {
  try {
    processes.kill(target, SIGKILL);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}
