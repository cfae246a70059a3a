/** Calls of containerd.services.tasks.v1 on a task from its creation to its end: answers and errors. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { makeSpec } from '../../../src/oci/default-spec.ts';
import { jsonTypeUrls, packJson } from '../../../src/wire/any.ts';
import { Containers } from '../../../src/wire/gen/containerd/services/containers/v1/containers_pb.js';
import { Tasks } from '../../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { attempt, run } from '../../support/run.ts';
import { type Api, type ApiCall, bytes, call, classLost } from './api-harness.ts';

const containerId = 'live';
const target = { containerId };
const tasks = (api: Api) => api.client(Tasks);

const specOf = ({ namespace }: Api) =>
  makeSpec({ id: containerId, namespace, args: ['/bin/busybox', 'sleep', '1000'], env: ['PATH=/bin'] });

async function record(api: Api): Promise<unknown> {
  const spec = packJson(jsonTypeUrls.spec, specOf(api));
  const runtime = { name: 'io.containerd.runc.v2' };
  return (await api.client(Containers).create({ container: { id: containerId, runtime, spec } })).container
    ?.id;
}

async function create(api: Api): Promise<unknown> {
  const source = join(api.daemon.root, 'busybox');
  await mkdir(join(source, 'bin'), { recursive: true });
  for (const directory of ['proc', 'dev', 'sys', 'tmp', 'run'])
    await mkdir(join(source, directory), { recursive: true });
  await run('cp', ['/bin/busybox', join(source, 'bin/busybox')]);
  const rootfs = [{ type: 'bind', source, target: '', options: ['rbind', 'ro'] }];
  const { pid } = await tasks(api).create({ containerId, rootfs });
  api.kept.set('pid', `${pid}`);
  return pid > 0;
}

const exec = (api: Api, execId: string, args: readonly string[]) =>
  tasks(api).exec({
    containerId,
    execId,
    spec: packJson(jsonTypeUrls.process, { ...specOf(api).process, args }),
  });

const stateOf = async (api: Api, execId = ''): Promise<unknown> => {
  const { process } = await tasks(api).get({ containerId, execId });
  return [process?.id, process?.status, process?.exitStatus, process?.exitedAt];
};

const stateNamed = 'ours says which process it is';

export const runningTaskCalls: readonly ApiCall[] = [
  call('the record', record),
  call('start before the creation', (api) => tasks(api).start(target)),
  call('create', create),
  call('create again', create),
  call('state of the created', (api) => stateOf(api)),
  call('exec in the created', (api) => exec(api, 'early', ['/bin/busybox', 'true'])),
  call('delete of an exec that was not started', async (api) => {
    const { id, exitStatus } = await tasks(api).deleteProcess({ containerId, execId: 'early' });
    return [id, exitStatus];
  }),
  call('start', async (api) => (await tasks(api).start(target)).pid > 0),
  call('start again', (api) => tasks(api).start(target)),
  call('state of the running', (api) => stateOf(api)),
  call('delete of the running', (api) => tasks(api).delete(target)),
  call('list', async (api) => (await tasks(api).list({})).tasks.map(({ id, status }) => [id, status])),
  call('pids', async (api) => (await tasks(api).listPids(target)).processes.length),
  call('metrics', async (api) =>
    (await tasks(api).metrics({ filters: [`id==${containerId}`] })).metrics.map(({ id, data }) => [
      id,
      data?.typeUrl,
    ]),
  ),
  call(
    'metrics of another id',
    async (api) => (await tasks(api).metrics({ filters: ['id==other'] })).metrics,
  ),
  call('exec', (api) => exec(api, 'e1', ['/bin/busybox', 'sleep', '1000'])),
  call('exec of the same id', (api) => exec(api, 'e1', ['/bin/busybox', 'true']), {
    words: 'ours names the container too',
  }),
  // An exec without a spec and an update without resources are not here: they kill the peer's shim.
  call('state of an exec that was not started', (api) => stateOf(api, 'e1')),
  call(
    'kill of an exec that was not started',
    (api) => tasks(api).kill({ containerId, execId: 'e1', signal: 9 }),
    { words: stateNamed },
  ),
  call('start of the exec', async (api) => (await tasks(api).start({ containerId, execId: 'e1' })).pid > 0),
  call('start of the exec again', (api) => tasks(api).start({ containerId, execId: 'e1' })),
  call('delete of the running exec', (api) => tasks(api).deleteProcess({ containerId, execId: 'e1' })),
  call('kill of the exec', (api) => tasks(api).kill({ containerId, execId: 'e1', signal: 9 })),
  call('wait for the exec', (api) => tasks(api).wait({ containerId, execId: 'e1' })),
  call('state of the ended exec', (api) => stateOf(api, 'e1')),
  call('kill of the ended exec', (api) => tasks(api).kill({ containerId, execId: 'e1', signal: 9 })),
  call('start of the ended exec', (api) => tasks(api).start({ containerId, execId: 'e1' })),
  call('delete of the ended exec', async (api) => {
    const { id, exitStatus, exitedAt } = await tasks(api).deleteProcess({ containerId, execId: 'e1' });
    return [id, exitStatus, exitedAt];
  }),
  call('state of the deleted exec', (api) => stateOf(api, 'e1')),
  call('start of an absent exec', (api) => tasks(api).start({ containerId, execId: 'absent' })),
  call('resize without a terminal', (api) => tasks(api).resizePty({ containerId, width: 1, height: 1 })),
  call('close of stdin', (api) => tasks(api).closeIO({ containerId, stdin: true })),
  call(
    'update with what is no resources',
    (api) =>
      tasks(api).update({
        containerId,
        resources: { typeUrl: jsonTypeUrls.linuxResources, value: bytes('x') },
      }),
    { words: 'ours says what failed' },
  ),
  call('kill by a signal that is none', (api) => tasks(api).kill({ containerId, signal: 999 }), {
    differs: classLost,
  }),
  call('pause', (api) => tasks(api).pause(target)),
  call('pause again', (api) => tasks(api).pause(target)),
  call('state of the paused', (api) => stateOf(api)),
  call('exec in the paused', (api) => exec(api, 'e4', ['/bin/busybox', 'true'])),
  call('resume', (api) => tasks(api).resume(target)),
  call('resume again', (api) => tasks(api).resume(target)),
  // The end of a task is compared by ctr: the peer's shim does not live to see this one's.
  call('the task goes', async (api) => {
    await tasks(api)
      .kill({ containerId, signal: 9 })
      .catch(() => {});
    await tasks(api)
      .wait(target)
      .catch(() => {});
    await tasks(api)
      .delete(target)
      .catch(() => {});
    await attempt('runc', [
      '--root',
      `/run/containerd/runc/${api.namespace}`,
      'delete',
      '--force',
      containerId,
    ]);
    await api.client(Containers).delete({ id: containerId });
  }),
];
