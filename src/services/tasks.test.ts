/** What the task service makes of requests and answers; how tasks run is tested with real shims elsewhere. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { notFound } from '../base/errors.ts';
import { silentLogger } from '../base/logger.ts';
import { instantOfMs } from '../base/time.ts';
import type { ProcessState, TaskManager } from '../core/runtime/task-manager.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { Tasks } from '../wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { connectGrpc } from '../wire/grpc/client.ts';
import { GrpcServer } from '../wire/grpc/server.ts';
import type { Client, Connection } from '../wire/service.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { tasksService } from './tasks.ts';

const running: ProcessState = {
  id: 'c1',
  pid: 42,
  status: 'running',
  stdin: '/in',
  stdout: '/out',
  stderr: '',
  terminal: true,
  exitStatus: 0,
  exitedAt: undefined,
};
const end = { pid: 42, exitStatus: 137, exitedAt: instantOfMs(5000) };
const goZeroSeconds = -62_135_596_800n;
const inside = { namespace: 'default' };

/** Answers every call, and keeps what it was asked (the context left out). */
function recordingManager(asked: unknown[][]): TaskManager {
  const answers: Readonly<Record<keyof TaskManager, unknown>> = {
    create: { pid: 42 },
    start: { pid: 43 },
    delete: end,
    deleteProcess: end,
    state: running,
    list: [running],
    kill: undefined,
    exec: undefined,
    resizePty: undefined,
    closeIo: undefined,
    pause: undefined,
    resume: undefined,
    pids: [
      { pid: 42, info: { typeUrl: 'i', value: Uint8Array.of(1) } },
      { pid: 43, info: undefined },
    ],
    update: undefined,
    metrics: [{ id: 'c1', timestamp: instantOfMs(1), data: { typeUrl: 'm', value: Uint8Array.of(2) } }],
    wait: end,
    checkpoint: [],
    stuck: [],
  };
  const call =
    (name: string, answer: unknown) =>
    async (_ctx: unknown, ...rest: unknown[]): Promise<unknown> => {
      asked.push([name, ...rest]);
      if (JSON.stringify(rest).includes('"gone"')) throw notFound('task', 'gone');
      return answer;
    };
  return Object.fromEntries(
    Object.entries(answers).map(([name, answer]) => [name, call(name, answer)]),
  ) as unknown as TaskManager;
}

describe('task service', () => {
  const asked: unknown[][] = [];
  let dir: string;
  let listener: UnixListener;
  let server: GrpcServer;
  let connection: Connection;
  let tasks: Client<typeof Tasks>;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-tasks-'));
    const sockets = { peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }), sendDatagram: (): void => {} };
    listener = await UnixListener.listen({ sockets }, join(dir, 's'));
    server = new GrpcServer({
      services: [tasksService({ tasks: recordingManager(asked) })],
      log: silentLogger,
    });
    server.attach(listener);
    connection = connectGrpc(listener.path);
    tasks = connection.client(Tasks);
  });

  after(async () => {
    await connection[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await listener.close();
    await rm(dir, { recursive: true });
  });

  it('creates with all that the request says', async () => {
    const options = { typeUrl: 'containerd.runc.v1.Options', value: Uint8Array.of(8, 1) };
    const rootfs = [{ type: 'overlay', source: 'overlay', target: '', options: ['ro'] }];
    const io = { stdin: '/in', stdout: '/out', stderr: '/err', terminal: true };
    const answer = await tasks.create(
      { containerId: 'c1', rootfs, ...io, options, runtimePath: '/shim', taskApiVersion: 3 },
      inside,
    );
    assert.deepEqual([answer.containerId, answer.pid], ['c1', 42]);
    const [name, request] = asked.at(-1) ?? [];
    assert.equal(name, 'create');
    const { options: passed, ...rest } = request as { options: typeof options };
    assert.equal(passed.typeUrl, options.typeUrl);
    assert.deepEqual(rest, {
      containerId: 'c1',
      rootfs,
      io,
      checkpoint: undefined,
      runtimePath: '/shim',
      taskApiAddress: '',
      taskApiVersion: 3,
    });
  });

  it('tells of processes as containerd does: no container id, Go zero time while they run', async () => {
    const { process: one } = await tasks.get({ containerId: 'c1' }, inside);
    assert.deepEqual(
      [one?.containerId, one?.id, one?.pid, one?.status, one?.exitedAt?.seconds],
      ['', 'c1', 42, Status.RUNNING, goZeroSeconds],
    );
    assert.deepEqual(asked.at(-1), ['state', { containerId: 'c1' }]);
    await tasks.get({ containerId: 'c1', execId: 'e1' }, inside);
    assert.deepEqual(asked.at(-1), ['state', { containerId: 'c1', execId: 'e1' }]);
    assert.equal((await tasks.list({ filter: 'ignored' }, inside)).tasks.length, 1);
  });

  it('ends: status, time, and the id of an exec', async () => {
    const wait = await tasks.wait({ containerId: 'c1' }, inside);
    assert.deepEqual([wait.exitStatus, wait.exitedAt?.seconds], [137, 5n]);
    assert.equal((await tasks.delete({ containerId: 'c1' }, inside)).id, '');
    assert.equal((await tasks.deleteProcess({ containerId: 'c1', execId: 'e1' }, inside)).id, 'e1');
  });

  it('passes signals, sizes, pids, metrics and updates', async () => {
    await tasks.kill({ containerId: 'c1', signal: 9, all: true }, inside);
    assert.deepEqual(asked.at(-1), ['kill', { containerId: 'c1' }, 9, { all: true }]);
    await tasks.resizePty({ containerId: 'c1', width: 80, height: 24 }, inside);
    assert.deepEqual(asked.at(-1), ['resizePty', { containerId: 'c1' }, 80, 24]);
    const { processes } = await tasks.listPids({ containerId: 'c1' }, inside);
    assert.deepEqual(
      processes.map(({ pid, info }) => [pid, info?.typeUrl]),
      [
        [42, 'i'],
        [43, undefined],
      ],
    );
    assert.equal((await tasks.metrics({}, inside)).metrics[0]?.data?.typeUrl, 'm');
    await tasks.update({ containerId: 'c1', annotations: { a: 'b' } }, inside);
    assert.deepEqual(asked.at(-1), ['update', 'c1', undefined, { a: 'b' }]);
  });

  it('closes stdin only when it is named', async () => {
    await tasks.closeIO({ containerId: 'c1', stdin: true }, inside);
    assert.equal(asked.at(-1)?.[0], 'closeIo');
    const askedBefore = asked.length;
    await tasks.closeIO({ containerId: 'c1' }, inside);
    assert.equal(asked.length, askedBefore);
  });

  it('refuses what cannot be', async () => {
    await rejectsWith(tasks.get({ containerId: 'gone' }, inside), 'NotFound');
    await rejectsWith(tasks.get({ containerId: '../x' }, inside), 'NotFound');
    await rejectsWith(tasks.get({ containerId: 'c1' }), 'FailedPrecondition');
    await rejectsWith(tasks.exec({ containerId: 'c1', execId: '' }, inside), 'InvalidArgument');
    await rejectsWith(tasks.exec({ containerId: 'c1', execId: 'e/1', spec: {} }, inside), 'InvalidArgument');
    await rejectsWith(tasks.exec({ containerId: 'c1', execId: 'e1' }, inside), 'InvalidArgument');
  });
});
