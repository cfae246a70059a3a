/** Calls of containerd.services.namespaces.v1. */
import { Containers } from '../../../src/wire/gen/containerd/services/containers/v1/containers_pb.js';
import { Namespaces } from '../../../src/wire/gen/containerd/services/namespaces/v1/namespace_pb.js';
import { type Api, type ApiCall, bytes, call, classLost, longLabel } from './api-harness.ts';

const namespaces = (api: Api) => api.outside.client(Namespaces);
const update = (api: Api, name: string, labels: Record<string, string>, paths?: string[]) =>
  namespaces(api).update({
    namespace: { name, labels },
    ...(paths !== undefined && { updateMask: { paths } }),
  });

const emptyAnswer = 'the peer forgets to put the namespace into its answer';

export const namespaceCalls: readonly ApiCall[] = [
  call('get of an absent one', (api) => namespaces(api).get({ name: 'ns-absent' })),
  call('get of a bad name', (api) => namespaces(api).get({ name: '../x' })),
  call('get of no name', (api) => namespaces(api).get({ name: '' })),
  call('create', (api) => namespaces(api).create({ namespace: { name: 'ns-one', labels: { a: 'b' } } })),
  call('create again', (api) => namespaces(api).create({ namespace: { name: 'ns-one' } })),
  call('create with a bad name', (api) => namespaces(api).create({ namespace: { name: 'ns--two' } })),
  call('create with no name', (api) => namespaces(api).create({ namespace: { name: '' } })),
  call('create with a long name', (api) => namespaces(api).create({ namespace: { name: 'n'.repeat(77) } })),
  call('create with a long label', (api) =>
    namespaces(api).create({ namespace: { name: 'ns-long', labels: longLabel } }),
  ),
  call('create with an empty label', (api) =>
    namespaces(api).create({ namespace: { name: 'ns-empty', labels: { a: '', b: 'c' } } }),
  ),
  call('get of one with an empty label', (api) => namespaces(api).get({ name: 'ns-empty' })),
  call('update of one label', (api) => update(api, 'ns-one', { x: 'y', z: 'w' }, ['labels.x']), {
    differs: emptyAnswer,
  }),
  call('update to an empty label', (api) => update(api, 'ns-one', { x: '' }, ['labels.x']), {
    differs: emptyAnswer,
  }),
  call('update of a label that is not given', (api) => update(api, 'ns-one', {}, ['labels.a']), {
    differs: emptyAnswer,
  }),
  call('get after updates', (api) => namespaces(api).get({ name: 'ns-one' })),
  call('update of all', (api) => update(api, 'ns-one', { only: 'this' }), { differs: emptyAnswer }),
  call('get after an update of all', (api) => namespaces(api).get({ name: 'ns-one' })),
  call('update with the mask labels', (api) => update(api, 'ns-one', { a: 'b' }, ['labels'])),
  call('update with a mask of another field', (api) => update(api, 'ns-one', {}, ['name'])),
  call('update with a long label', (api) => update(api, 'ns-one', longLabel, ['labels.key']), {
    differs: classLost,
  }),
  call('update of a bad name', (api) => update(api, '..', { a: 'b' }), {
    differs: 'the peer changes it, and fails when it tells of it',
  }),
  call('update of an absent one', (api) => update(api, 'ns-new', { a: 'b' }), { differs: emptyAnswer }),
  call('list', async (api) => {
    const listed = await namespaces(api).list({ filter: 'name==nothing' });
    return listed.namespaces.filter(({ name }) => name.startsWith('ns-'));
  }),
  call('a container comes', (api) =>
    api
      .client(Containers)
      .create(
        { container: { id: 'c', runtime: { name: 'r' }, spec: { typeUrl: 's', value: bytes('{}') } } },
        { namespace: 'ns-one' },
      ),
  ),
  call('delete of one with a container', (api) => namespaces(api).delete({ name: 'ns-one' })),
  call('the container goes', (api) => api.client(Containers).delete({ id: 'c' }, { namespace: 'ns-one' })),
  call('delete', (api) => namespaces(api).delete({ name: 'ns-one' })),
  call('delete again', (api) => namespaces(api).delete({ name: 'ns-one' })),
  call('delete of a bad name', (api) => namespaces(api).delete({ name: '../x' })),
  call('delete of no name', (api) => namespaces(api).delete({ name: '' })),
  call('delete of the others', async (api) => {
    await namespaces(api).delete({ name: 'ns-empty' });
    await namespaces(api).delete({ name: 'ns-new' });
  }),
];
