/** Calls of containerd.services.images.v1. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { type ImageSchema, Images } from '../../../src/wire/gen/containerd/services/images/v1/images_pb.js';
import { type Api, type ApiCall, call, classTwice, leaseNamed, longLabel } from './api-harness.ts';

type Given = Omit<MessageInitShape<typeof ImageSchema>, '$typeName'>;

const images = (api: Api) => api.client(Images);
const digest = `sha256:${'1'.repeat(64)}`;
const other = `sha256:${'2'.repeat(64)}`;
const target = { mediaType: 'm', digest, size: 3n, annotations: { p: 'q' } };
const create = (api: Api, more: Given) => images(api).create({ image: { name: 'one', target, ...more } });
const update = (api: Api, more: Given, paths?: string[]) =>
  images(api).update({
    image: { name: 'one', target, ...more },
    ...(paths !== undefined && { updateMask: { paths } }),
  });
const names = async (api: Api, filters: string[]): Promise<string[]> =>
  (await images(api).list({ filters })).images.map(({ name }) => name);

export const imageCalls: readonly ApiCall[] = [
  call('get outside of a namespace', (api) => api.outside.client(Images).get({ name: 'one' })),
  call('get of an absent one', (api) => images(api).get({ name: 'one' })),
  call('get of no name', (api) => images(api).get({ name: '' })),
  call('create with no name', (api) => create(api, { name: '' })),
  call('create with a bad digest', (api) => create(api, { target: { ...target, digest: 'nope' } })),
  call('create with a short digest', (api) => create(api, { target: { ...target, digest: 'sha256:abc' } })),
  call('create with no digest', (api) => create(api, { target: { ...target, digest: '' } })),
  call('create with an unknown algorithm', (api) =>
    create(api, { target: { ...target, digest: `md5:${'1'.repeat(32)}` } }),
  ),
  call('create with no size', (api) => create(api, { target: { ...target, size: 0n } })),
  call('create with a negative size', (api) => create(api, { target: { ...target, size: -1n } })),
  call('create with no media type', (api) => create(api, { target: { ...target, mediaType: '' } })),
  call('create with a long label', (api) => create(api, { labels: longLabel })),
  call('create', (api) => create(api, { labels: { a: 'b', gone: '' } })),
  call('create again', (api) => create(api, {})),
  call('create at a time', async (api) => {
    const { image } = await images(api).create({
      image: { name: 'dated', target },
      sourceDateEpoch: { seconds: 1000n, nanos: 5 },
    });
    return [image?.createdAt?.seconds, image?.updatedAt?.nanos];
  }),
  call('create of another', (api) => create(api, { name: 'a-first', target: { ...target, digest: other } })),
  call(
    'create under an unknown lease',
    (api) =>
      images(api).create(
        {
          image: { name: 'leased', target, labels: { 'containerd.io/gc.expire': '2999-01-01T00:00:00Z' } },
        },
        { lease: 'no-such-lease' },
      ),
    { words: leaseNamed },
  ),
  call('get', (api) => images(api).get({ name: 'one' })),
  call('list in order', (api) => names(api, [])),
  call('filter by name', (api) => names(api, ['name==one'])),
  call('filter by digest', (api) => names(api, [`target.digest==${other}`])),
  call('filter by media type', (api) => names(api, ['target.mediatype~=m'])),
  call('filter by annotation', (api) => names(api, ['annotations.p==q,labels.a'])),
  call('filter that does not parse', (api) => names(api, ['name=one']), { words: classTwice }),
  call('update of an absent one', (api) => update(api, { name: 'absent' })),
  call('update of no name', (api) => update(api, { name: '' })),
  call('update by mask', (api) =>
    update(api, { labels: { c: 'd' }, target: { ...target, annotations: { r: 's', t: 'u' } } }, [
      'labels.c',
      'annotations.r',
    ]),
  ),
  call('update of the target', (api) =>
    update(api, { target: { ...target, digest: other, annotations: {} } }, ['target']),
  ),
  call('update of the annotations', (api) =>
    update(api, { target: { ...target, annotations: { x: 'y' } } }, ['annotations']),
  ),
  call('update of all labels', (api) => update(api, { labels: { e: 'f' } }, ['labels'])),
  call('update of everything', (api) => update(api, { labels: { g: 'h' } })),
  call('update to a bad target', (api) => update(api, { target: { ...target, digest: 'x' } }, ['target'])),
  call('update of another field', (api) => update(api, {}, ['name'])),
  call('update with a long label', (api) => update(api, { labels: longLabel }, ['labels'])),
  call('delete of another target', (api) =>
    images(api).delete({ name: 'one', target: { ...target, digest: other } }),
  ),
  call('delete of an absent one', (api) => images(api).delete({ name: 'absent' })),
  call('delete of no name', (api) => images(api).delete({ name: '' })),
  call('delete', (api) => images(api).delete({ name: 'one', target })),
  call('delete with a collection', (api) => images(api).delete({ name: 'dated', sync: true })),
  call('list at the end', (api) => names(api, [])),
];
