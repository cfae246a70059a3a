/**
 * What a process or container in the wrong state answers: containerd's words, and no class, as containerd's shim has
 * it, which its clients go by.
 */
import { type ContainerdError, unknown } from '../../base/errors.ts';

/** Of a container: `paused` is only told of one that runs. */
export type ContainerPhase = 'created' | 'running' | 'paused' | 'stopped';

/** A start of what is more than created, a delete of what runs. */
export const wrongProcessState = (doing: 'start' | 'delete', phase: ContainerPhase): ContainerdError =>
  unknown(`cannot ${doing} a ${phase} process`);

export function wrongContainerState(
  doing: 'pause' | 'resume' | 'update' | 'checkpoint',
  phase: ContainerPhase,
): ContainerdError {
  if (phase === 'created')
    return unknown(`cannot ${doing} ${doing === 'checkpoint' ? 'a ' : ''}task in created state`);
  return unknown(`cannot ${doing} a ${phase} ${phase === 'running' ? 'process' : 'container'}`);
}

export const wrongExecState = (phase: ContainerPhase): ContainerdError =>
  unknown(`cannot exec in a ${phase} state`);
