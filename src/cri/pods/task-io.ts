/** Tasks of the CRI have no FIFOs of their own: what a process writes goes to its log, or nowhere. */
import type { ContainerId } from '../../base/identifiers.ts';
import type { CreateTask, ProcessIo } from '../../core/runtime/task-manager.ts';
import type { Mount } from '../../platform/mount.ts';

export const noIo: ProcessIo = { stdin: '', stdout: '', stderr: '', terminal: false };

export const taskOf = (
  containerId: ContainerId,
  { rootfs, io }: { readonly rootfs: readonly Mount[]; readonly io: ProcessIo },
): CreateTask => ({
  containerId,
  rootfs,
  io,
  checkpoint: undefined,
  options: undefined,
  runtimePath: '',
  taskApiAddress: '',
  taskApiVersion: 0,
});
