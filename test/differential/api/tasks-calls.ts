/** Errors of containerd.services.tasks.v1; tasks that run are compared by ctr and in test/system. */
import { Containers } from '../../../src/wire/gen/containerd/services/containers/v1/containers_pb.js';
import { Tasks } from '../../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { type Api, type ApiCall, bytes, call, classLost } from './api-harness.ts';

const tasks = (api: Api) => api.client(Tasks);
const containerId = 'absent';
const process = { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process', value: bytes('{}') };
const record = (api: Api, id: string, runtime: string, spec = '{}') =>
  api.client(Containers).create({
    container: { id, runtime: { name: runtime }, spec: { typeUrl: 's', value: bytes(spec) } },
  });

export const taskCalls: readonly ApiCall[] = [
  call('get outside of a namespace', (api) => api.outside.client(Tasks).get({ containerId })),
  call('get', (api) => tasks(api).get({ containerId })),
  call('get of no id', (api) => tasks(api).get({ containerId: '' })),
  call('get of a bad id', (api) => tasks(api).get({ containerId: '../x' })),
  call('get of an exec', (api) => tasks(api).get({ containerId, execId: 'e' })),
  call('list', (api) => tasks(api).list({})),
  call('create for an absent container', (api) => tasks(api).create({ containerId })),
  call('create for no container', (api) => tasks(api).create({ containerId: '' })),
  call('start', (api) => tasks(api).start({ containerId })),
  call('delete', (api) => tasks(api).delete({ containerId })),
  call('delete of an exec', (api) => tasks(api).deleteProcess({ containerId, execId: 'e' })),
  call('kill', (api) => tasks(api).kill({ containerId, signal: 9 })),
  call('exec', (api) => tasks(api).exec({ containerId, execId: 'e', spec: process })),
  call('exec of no id', (api) => tasks(api).exec({ containerId, execId: '', spec: process }), {
    words: 'ours says it as of all identifiers',
  }),
  call('exec of a bad id', (api) => tasks(api).exec({ containerId, execId: '../x', spec: process }), {
    differs: 'ours looks at the exec id first',
  }),
  call('resize', (api) => tasks(api).resizePty({ containerId, width: 1, height: 1 })),
  call('close of stdin', (api) => tasks(api).closeIO({ containerId, stdin: true })),
  call('pause', (api) => tasks(api).pause({ containerId })),
  call('resume', (api) => tasks(api).resume({ containerId })),
  call('pids', (api) => tasks(api).listPids({ containerId })),
  call('checkpoint', (api) => tasks(api).checkpoint({ containerId })),
  call('update', (api) => tasks(api).update({ containerId })),
  call('wait', (api) => tasks(api).wait({ containerId })),
  call('metrics of nothing', (api) => tasks(api).metrics({})),
  call('metrics by a filter that does not parse', (api) => tasks(api).metrics({ filters: ['id='] }), {
    differs: classLost,
  }),
  call('records', async (api) => {
    await record(api, 'unknown', 'io.containerd.absent.v9');
    await record(api, 'nonsense', 'nonsense');
    await record(api, 'not-a-spec', 'io.containerd.runc.v2', 'not json');
  }),
  call('create with an unknown runtime', (api) => tasks(api).create({ containerId: 'unknown' })),
  call('create with a runtime of a bad name', (api) => tasks(api).create({ containerId: 'nonsense' })),
  call(
    'create with a checkpoint that is not there',
    (api) =>
      tasks(api).create({
        containerId: 'unknown',
        checkpoint: {
          mediaType: 'application/vnd.containerd.container.criu.checkpoint.criu.tar',
          digest: `sha256:${'0'.repeat(64)}`,
          size: 4n,
        },
      }),
    { words: 'ours resolves the runtime first' },
  ),
  call('start of what was not created', (api) => tasks(api).start({ containerId: 'unknown' })),
  call('the records go', async (api) => {
    for (const id of ['unknown', 'nonsense', 'not-a-spec']) await api.client(Containers).delete({ id });
  }),
];
