/** Calls of containerd.services.containers.v1. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type ContainerSchema,
  Containers,
} from '../../../src/wire/gen/containerd/services/containers/v1/containers_pb.js';
import { type Api, type ApiCall, all, bytes, call, classTwice, longLabel } from './api-harness.ts';

type Given = Omit<MessageInitShape<typeof ContainerSchema>, '$typeName'>;

const containers = (api: Api) => api.client(Containers);
const spec = { typeUrl: 'some.Spec', value: bytes('{}') };
const whole: Given = { id: 'c1', runtime: { name: 'runtime.v1' }, spec, image: 'i', labels: { a: 'b' } };
const create = (api: Api, more: Given) => containers(api).create({ container: { ...whole, ...more } });
const update = (api: Api, more: Given, paths?: string[]) =>
  containers(api).update({
    container: { ...whole, ...more },
    ...(paths !== undefined && { updateMask: { paths } }),
  });
const ids = async (api: Api, filters: string[]): Promise<string[]> =>
  (await containers(api).list({ filters })).containers.map(({ id }) => id);

const bucketWords = 'the words of the peer depend on whether the namespace ever had a container';
const noSpec = 'the peer looks for a spec and does not see that there is none (a typed nil)';

export const containerCalls: readonly ApiCall[] = [
  call('get outside of a namespace', (api) => api.outside.client(Containers).get({ id: 'c1' })),
  call('get in a bad namespace', (api) => containers(api).get({ id: 'c1' }, { namespace: '..' })),
  call('list in an absent namespace', (api) => containers(api).list({}, { namespace: 'no-such' })),
  call('get of an absent one', (api) => containers(api).get({ id: 'c1' })),
  call('get of a bad id', (api) => containers(api).get({ id: '../x' })),
  call('get of no id', (api) => containers(api).get({ id: '' })),
  call('delete of an absent one', (api) => containers(api).delete({ id: 'c1' }), { words: bucketWords }),
  call('delete of no id', (api) => containers(api).delete({ id: '' }), { words: bucketWords }),
  call('create with a bad id', (api) => create(api, { id: '../x' })),
  call('create with no id', (api) => create(api, { id: '' })),
  call('create with a long id', (api) => create(api, { id: 'i'.repeat(77) })),
  call('create without a runtime', (api) => create(api, { runtime: { name: '' } })),
  call(
    'create without a spec',
    async (api) => {
      await containers(api).create({ container: { id: 'bare', runtime: { name: 'r' } } });
      await containers(api).delete({ id: 'bare' });
    },
    { differs: noSpec },
  ),
  call('create with a key and no snapshotter', (api) => create(api, { snapshotKey: 'k' })),
  call('create with a nameless extension', (api) => create(api, { extensions: { '': spec } })),
  call('create with a long label', (api) => create(api, { labels: longLabel })),
  call('create', (api) =>
    create(api, {
      snapshotter: 's',
      snapshotKey: 'k',
      extensions: { e: spec },
      sandbox: 'sandbox',
      runtime: { name: 'runtime.v1', options: { typeUrl: 'o', value: bytes('options') } },
    }),
  ),
  call('create again', (api) => create(api, {})),
  call('create of others', async (api) => {
    await create(api, { id: 'b2', labels: { a: '', x: 'y' } });
    await create(api, { id: 'a3', image: '', labels: {} });
  }),
  call('get', (api) => containers(api).get({ id: 'c1' })),
  call('get of one with an empty label', (api) => containers(api).get({ id: 'b2' })),
  call('list in order', (api) => ids(api, [])),
  call('list as a stream', async (api) => all(containers(api).listStream({ filters: ['id~=[ab]'] }))),
  call('filter by label', (api) => ids(api, ['labels.a==b'])),
  call('filter by absence', (api) => ids(api, ['labels.a!=b'])),
  call('filter by presence', (api) => ids(api, ['labels.x'])),
  call('filter by image', (api) => ids(api, ['image'])),
  call('filter by runtime', (api) => ids(api, ['runtime.name~=run'])),
  call('filter with two', (api) => ids(api, ['id==c1', 'id==a3,labels.x'])),
  call('filter that is empty', (api) => ids(api, [''])),
  call('filter with no such field', (api) => ids(api, ['nothing==x'])),
  call('filter that does not parse', (api) => ids(api, ['id==']), { words: classTwice }),
  call('filter with a bad expression', (api) => ids(api, ['id~="("'])),
  call('update of an absent one', (api) => update(api, { id: 'absent' })),
  call('update of a bad id', (api) => update(api, { id: '../x' })),
  call('update of no id', (api) => update(api, { id: '' })),
  call('update by mask', (api) =>
    update(api, { labels: { n: '1', o: '2' }, image: 'j', extensions: { f: spec } }, [
      'labels.n',
      'image',
      'extensions.f',
    ]),
  ),
  call('update of a label to nothing', (api) => update(api, { labels: {} }, ['labels.n'])),
  call('update of an extension to nothing', (api) => update(api, { id: 'b2' }, ['extensions.f']), {
    differs: 'the peer keeps an empty extension',
  }),
  call('update of all labels', (api) => update(api, { labels: { q: 'r' } }, ['labels'])),
  call('update of the snapshot key', (api) => update(api, { snapshotKey: 'k2' }, ['snapshotkey'])),
  call('update of the spec', (api) => update(api, { spec: { typeUrl: 't', value: bytes('new') } }, ['spec'])),
  call(
    'update of the spec to nothing',
    async (api) => {
      await containers(api).update({ container: { id: 'c1' }, updateMask: { paths: ['spec'] } });
      await update(api, {}, ['spec']);
    },
    { differs: noSpec },
  ),
  call('update of the spec again', (api) => update(api, {}, ['spec'])),
  call('update of a field that is fixed', (api) => update(api, {}, ['runtime'])),
  call('update of a field that is not there', (api) => update(api, {}, ['zz.top'])),
  call('update by a mask of the API name', (api) => update(api, {}, ['snapshot_key'])),
  call('update of another runtime', (api) => update(api, { runtime: { name: 'other' }, snapshotter: 's' })),
  call('update of another snapshotter', (api) => update(api, { snapshotter: 'other' })),
  call('update of everything', (api) =>
    update(api, { snapshotter: 's', snapshotKey: 'k3', labels: { w: 'x' }, image: '' }),
  ),
  call('update with a long label', (api) => update(api, { labels: longLabel }, ['labels.key'])),
  call('delete', (api) => containers(api).delete({ id: 'c1' })),
  call('delete again', (api) => containers(api).delete({ id: 'c1' })),
  call('list at the end', (api) => ids(api, [])),
];
