/** How the wire says what a process is doing. */
import type { ProcessState, ProcessStatus } from '../core/runtime/task-manager.ts';
import { Status, type Process as WireProcess } from '../wire/gen/containerd/types/task/task_pb.js';
import { instantOf } from '../wire/timestamps.ts';

const statuses: Readonly<Record<number, ProcessStatus>> = {
  [Status.CREATED]: 'created',
  [Status.RUNNING]: 'running',
  [Status.STOPPED]: 'stopped',
  [Status.PAUSED]: 'paused',
  [Status.PAUSING]: 'pausing',
};

export const stateOf = (wire: WireProcess): ProcessState => ({
  id: wire.id,
  pid: wire.pid,
  status: statuses[wire.status] ?? 'unknown',
  stdin: wire.stdin,
  stdout: wire.stdout,
  stderr: wire.stderr,
  terminal: wire.terminal,
  exitStatus: wire.exitStatus,
  exitedAt: instantOf(wire.exitedAt),
});
