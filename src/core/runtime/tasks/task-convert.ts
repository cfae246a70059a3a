/** Answers of shims as the task manager gives them. */
import type { DeleteResponse, StateResponse } from '../../../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Status } from '../../../wire/gen/containerd/types/task/task_pb.js';
import { instantOf } from '../../../wire/timestamps.ts';
import type { ProcessEnd, ProcessState, ProcessStatus } from '../task-manager.ts';

const statuses: Readonly<Record<Status, ProcessStatus>> = {
  [Status.UNKNOWN]: 'unknown',
  [Status.CREATED]: 'created',
  [Status.RUNNING]: 'running',
  [Status.STOPPED]: 'stopped',
  [Status.PAUSED]: 'paused',
  [Status.PAUSING]: 'pausing',
};

export const stateOf = (state: StateResponse): ProcessState => ({
  id: state.execId === '' ? state.id : state.execId,
  pid: state.pid,
  status: statuses[state.status] ?? 'unknown',
  stdin: state.stdin,
  stdout: state.stdout,
  stderr: state.stderr,
  terminal: state.terminal,
  exitStatus: state.exitStatus,
  exitedAt: instantOf(state.exitedAt),
});

export const endOf = (end: DeleteResponse): ProcessEnd => ({
  pid: end.pid,
  exitStatus: end.exitStatus,
  exitedAt: instantOf(end.exitedAt),
});
