/**
 * What `runc delete` does for a container that has ended, without a process: its cgroups and runc's own directory go.
 * Only where the kernel has ended all of it with init, and nobody asked to be told: else there is runc.
 */
import { rmdirSync, rmSync } from 'node:fs';
import { cgroupTree } from '../../platform/cgroups/cgroup-processes.ts';
import { isErrno } from '../../platform/errno.ts';
import type { RuncState } from './runc-state.ts';

/**
 * For a container whose init was reaped. False when runc has to do it, or what is left of it: it does not mind what is
 * gone. The state goes last.
 */
export function deleteDirectly(state: RuncState): boolean {
  const { ownPidNamespace, hasPoststop, hasIntelRdt, systemdCgroup } = state;
  if (!ownPidNamespace || hasPoststop || hasIntelRdt || systemdCgroup) return false;
  if (!state.cgroups.every(removeCgroup)) return false;
  rmSync(state.directory, { recursive: true, force: true });
  return true;
}

/** With what is below it. False when something is in it, or it cannot be removed. */
function removeCgroup(path: string): boolean {
  if (tryRemove(path)) return true;
  return cgroupTree(path).reverse().every(tryRemove);
}

function tryRemove(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return isErrno(error, 'ENOENT');
  }
}
