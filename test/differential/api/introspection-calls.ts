/** Calls of containerd.services.introspection.v1, version.v1 and health. */
import { fromBinary } from '@bufbuild/protobuf';
import { packAny } from '../../../src/wire/any.ts';
import { Introspection } from '../../../src/wire/gen/containerd/services/introspection/v1/introspection_pb.js';
import { Version } from '../../../src/wire/gen/containerd/services/version/v1/version_pb.js';
import {
  RuntimeInfoSchema,
  RuntimeRequestSchema,
} from '../../../src/wire/gen/containerd/types/introspection_pb.js';
import { Health } from '../../../src/wire/gen/grpc/health/v1/health_pb.js';
import { type Api, type ApiCall, call, classLost, classTwice } from './api-harness.ts';

const introspection = (api: Api) => api.client(Introspection);
const runtime = { type: 'io.containerd.runtime.v2', id: 'task' };

const ask = (api: Api, runtimePath: string) =>
  introspection(api).pluginInfo({
    ...runtime,
    options: packAny(RuntimeRequestSchema, { runtimePath }),
  });

/** What the runtime says of itself, without what belongs to its build. */
async function runtimeInfo(api: Api, runtimePath: string): Promise<unknown> {
  const { plugin, extra } = await ask(api, runtimePath);
  const info = fromBinary(RuntimeInfoSchema, extra?.value ?? new Uint8Array());
  const features = JSON.parse(Buffer.from(info.features?.value ?? []).toString()) as Record<string, unknown>;
  return [plugin?.id, extra?.typeUrl, info.name, info.options?.typeUrl, info.features?.typeUrl, features];
}

export const introspectionCalls: readonly ApiCall[] = [
  call('server', async (api) => {
    const { uuid, pid, pidns, deprecations } = await introspection(api).server({});
    return [/^[0-9a-f-]{36}$/.test(uuid), pid === BigInt(api.daemon.pid), pidns, deprecations];
  }),
  call('the uuid stays', async (api) => {
    const [one, two] = [await introspection(api).server({}), await introspection(api).server({})];
    return one.uuid === two.uuid;
  }),
  call('plugins by id', async (api) => {
    const { plugins } = await introspection(api).plugins({ filters: ['id==overlayfs'] });
    return plugins.map(({ type, id }) => [type, id]);
  }),
  call('plugins by type', async (api) => {
    const { plugins } = await introspection(api).plugins({ filters: ['type~=content'] });
    return plugins.map(({ type, id, requires }) => [type, id, requires]);
  }),
  call('plugins by a filter that does not parse', (api) => introspection(api).plugins({ filters: ['id='] }), {
    words: classTwice,
  }),
  call('info of an absent plugin', (api) => introspection(api).pluginInfo({ type: 'a', id: 'b' })),
  call('info of a plugin', async (api) => {
    const { plugin, extra } = await introspection(api).pluginInfo(runtime);
    return [plugin?.type, plugin?.id, extra];
  }),
  call(
    'info of a plugin that tells nothing',
    (api) =>
      introspection(api).pluginInfo({
        type: 'io.containerd.metadata.v1',
        id: 'bolt',
        options: packAny(RuntimeRequestSchema, {}),
      }),
    { words: 'ours names the plugin' },
  ),
  call('info of the runtime', (api) => runtimeInfo(api, 'io.containerd.runc.v2')),
  call('info of the runtime of no name', (api) => runtimeInfo(api, '')),
  call('info of an unknown runtime', (api) => ask(api, 'io.containerd.absent.v9')),
  call('info of a runtime of a bad name', (api) => ask(api, 'absent')),
  call('info of a runtime that is no program', (api) => ask(api, '/etc/passwd'), {
    words: 'ours looks before it runs',
  }),
  call(
    'info of a runtime by other options',
    (api) =>
      introspection(api).pluginInfo({
        ...runtime,
        options: { typeUrl: 'x.Unknown', value: new Uint8Array() },
      }),
    { differs: classLost },
  ),
  call('health', (api) => api.outside.client(Health).check({})),
  call('health of a service that is not there', (api) =>
    api.outside.client(Health).check({ service: 'nope' }),
  ),
  call('version', async (api) => {
    const { version, revision } = await api.outside.client(Version).version({});
    return [version !== '', typeof revision];
  }),
];
