/** Calls of containerd.services.sandbox.v1.Store. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Store } from '../../../src/wire/gen/containerd/services/sandbox/v1/sandbox_pb.js';
import type { SandboxSchema } from '../../../src/wire/gen/containerd/types/sandbox_pb.js';
import { type Api, type ApiCall, bytes, call, classTwice, longLabel } from './api-harness.ts';

type Given = Omit<MessageInitShape<typeof SandboxSchema>, '$typeName'>;

const store = (api: Api) => api.client(Store);
const any = { typeUrl: 't', value: bytes('value') };
const whole: Given = { sandboxId: 's1', runtime: { name: 'r' }, labels: { a: 'b' }, sandboxer: 'shim' };
const create = (api: Api, more: Given) => store(api).create({ sandbox: { ...whole, ...more } });
const update = (api: Api, more: Given, fields: string[]) =>
  store(api).update({ sandbox: { ...whole, ...more }, fields });
const ids = async (api: Api, filters: string[]): Promise<string[]> =>
  (await store(api).list({ filters })).list.map(({ sandboxId }) => sandboxId);

const bucketWords = 'the peer tells of its database';

export const sandboxCalls: readonly ApiCall[] = [
  call('get outside of a namespace', (api) => api.outside.client(Store).get({ sandboxId: 's1' })),
  call('get of an absent one', (api) => store(api).get({ sandboxId: 's1' }), { words: bucketWords }),
  call('get of no id', (api) => store(api).get({ sandboxId: '' }), { words: bucketWords }),
  call('create with no id', (api) => create(api, { sandboxId: '' })),
  call('create with a bad id', (api) => create(api, { sandboxId: '../x' })),
  call('create without a runtime', (api) => create(api, { sandboxId: 'bare', runtime: { name: '' } })),
  call(
    'create with a long label',
    async (api) => {
      await create(api, { sandboxId: 'long', labels: longLabel });
      await store(api).delete({ sandboxId: 'long' });
    },
    { differs: 'the peer does not look at the labels of sandboxes' },
  ),
  call('create', (api) => create(api, { extensions: { e: any }, spec: any })),
  call('create again', (api) => create(api, {}), { words: bucketWords }),
  call('get', (api) => store(api).get({ sandboxId: 's1' })),
  call('list', (api) => ids(api, [])),
  call('filter by label', (api) => ids(api, ['labels.a!=b'])),
  call('filter by id', (api) => ids(api, ['id==s1'])),
  call('filter that does not parse', (api) => ids(api, ['id=']), { words: classTwice }),
  call('update by fields', (api) =>
    update(api, { labels: { c: 'd', e: 'f' }, extensions: { f: any } }, ['labels.c', 'extensions.f']),
  ),
  call('update of all labels', (api) => update(api, { labels: { g: 'h' } }, ['labels'])),
  call('update of the runtime', (api) => update(api, { runtime: { name: 'r2' } }, ['runtime'])),
  call('update of another field', (api) => update(api, {}, ['sandboxer'])),
  call('update of an absent one', (api) => update(api, { sandboxId: 'absent' }, ['labels']), {
    words: bucketWords,
  }),
  call('get after updates', (api) => store(api).get({ sandboxId: 's1' })),
  call('delete', (api) => store(api).delete({ sandboxId: 's1' })),
  call('delete again', (api) => store(api).delete({ sandboxId: 's1' }), { words: bucketWords }),
];
