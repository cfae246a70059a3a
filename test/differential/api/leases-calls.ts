/** Calls of containerd.services.leases.v1. */
import { Leases } from '../../../src/wire/gen/containerd/services/leases/v1/leases_pb.js';
import { type Api, type ApiCall, call, classLost, classTwice, longLabel } from './api-harness.ts';

const leases = (api: Api) => api.client(Leases);
const digest = `sha256:${'1'.repeat(64)}`;
const add = (api: Api, id: string, type: string, resource: string) =>
  leases(api).addResource({ id, resource: { type, id: resource } });
const ids = async (api: Api, filters: string[]): Promise<string[]> =>
  (await leases(api).list({ filters })).leases.map(({ id }) => id);

const typeWords = 'ours says what a resource type looks like';

export const leaseCalls: readonly ApiCall[] = [
  call('create outside of a namespace', (api) => api.outside.client(Leases).create({ id: 'l' })),
  call('create', (api) => leases(api).create({ id: 'l1', labels: { a: 'b' } })),
  call('create again', (api) => leases(api).create({ id: 'l1' })),
  call('create without an id', async (api) => (await leases(api).create({})).lease?.id !== ''),
  call('delete of that one', async (api) => {
    for (const id of await ids(api, ['id!=l1'])) await leases(api).delete({ id });
  }),
  call('create with an odd id', (api) => leases(api).create({ id: 'some/../thing' })),
  call('create with a long label', (api) => leases(api).create({ id: 'l2', labels: longLabel }), {
    differs: 'the peer does not look at the labels of leases',
  }),
  call('create with an empty label', (api) => leases(api).create({ id: 'l3', labels: { a: '' } })),
  call('list', (api) => leases(api).list({ filters: ['id!=l2'] })),
  call('filter by label', (api) => ids(api, ['labels.a==b'])),
  call('filter by id', (api) => ids(api, ['id~=thing'])),
  call('filter that does not parse', (api) => ids(api, ['id=']), { words: classTwice }),
  call('add content', (api) => add(api, 'l1', 'content', digest)),
  call('add content again', (api) => add(api, 'l1', 'content', digest)),
  call('add a bad digest', (api) => add(api, 'l1', 'content', 'nope')),
  call('add a snapshot', (api) => add(api, 'l1', 'snapshots/overlayfs', 'k')),
  call('add an ingest', (api) => add(api, 'l1', 'ingests', 'r')),
  call('add an image', (api) => add(api, 'l1', 'images', 'i')),
  call('add a snapshot of no snapshotter', (api) => add(api, 'l1', 'snapshots', 'k'), { words: typeWords }),
  call('add a snapshot of an empty snapshotter', (api) => add(api, 'l1', 'snapshots/', 'k'), {
    differs: classLost,
  }),
  call('add content with a suffix', (api) => add(api, 'l1', 'content/x', digest), { words: typeWords }),
  call('add of no such type', (api) => add(api, 'l1', 'zz', 'k')),
  call('add of no type', (api) => add(api, 'l1', '', 'k')),
  call('add of no id', (api) => add(api, 'l1', 'images', ''), { differs: classLost }),
  call('add to an absent lease', (api) => add(api, 'absent', 'images', 'i')),
  call('add to no lease', (api) => add(api, '', 'images', 'i')),
  call('resources', (api) => leases(api).listResources({ id: 'l1' })),
  call('resources of an absent lease', (api) => leases(api).listResources({ id: 'absent' })),
  call('remove a resource', (api) =>
    leases(api).deleteResource({ id: 'l1', resource: { type: 'images', id: 'i' } }),
  ),
  call('remove a resource that is not there', (api) =>
    leases(api).deleteResource({ id: 'l1', resource: { type: 'images', id: 'i' } }),
  ),
  call('remove a resource from an absent lease', (api) =>
    leases(api).deleteResource({ id: 'absent', resource: { type: 'images', id: 'i' } }),
  ),
  call('resources that stay', (api) => leases(api).listResources({ id: 'l1' })),
  call('delete', (api) => leases(api).delete({ id: 'l1' })),
  call('delete again', (api) => leases(api).delete({ id: 'l1' })),
  call('delete with a collection', (api) => leases(api).delete({ id: 'l3', sync: true })),
  call('delete of no id', (api) => leases(api).delete({ id: '' })),
];
