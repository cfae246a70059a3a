/** What the task service says of a task, where ctr does not show it. */

import { Tasks } from '../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import type { Daemon } from './daemon.ts';

/** Exit status of a stopped task in the default namespace. */
export async function exitStatus(daemon: Daemon, containerId: string): Promise<number | undefined> {
  await using connection = connectGrpc(daemon.address, { namespace: 'default' });
  return (await connection.client(Tasks).get({ containerId })).process?.exitStatus;
}
