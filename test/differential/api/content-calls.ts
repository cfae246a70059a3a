/** Calls of containerd.services.content.v1 other than Write. */
import { digestOf } from '../../../src/base/digest.ts';
import { Content, WriteAction } from '../../../src/wire/gen/containerd/services/content/v1/content_pb.js';
import { type Api, type ApiCall, all, bytes, call, longLabel, messages } from './api-harness.ts';

const content = (api: Api) => api.client(Content);
const hello = digestOf('hello');
const absent = digestOf('absent');

const put = (api: Api, text: string) =>
  all(
    content(api).write(
      messages({
        action: WriteAction.COMMIT,
        ref: `put-${text}`,
        data: bytes(text),
        total: BigInt(text.length),
      }),
    ),
  );
const read = async (api: Api, offset: bigint, size: bigint): Promise<unknown[]> => {
  const parts = await all(content(api).read({ digest: hello, offset, size }));
  return parts.map((part) => [part.offset, Buffer.from(part.data).toString()]);
};
const update = (api: Api, labels: Record<string, string>, paths?: string[]) =>
  content(api).update({
    info: { digest: hello, labels, size: 99n },
    ...(paths !== undefined && { updateMask: { paths } }),
  });
const digests = async (api: Api, filters: string[]): Promise<string[]> =>
  (await all(content(api).list({ filters }))).flatMap(({ info }) => info.map(({ digest }) => digest));

const digestWords = 'ours says in each case which digest is wrong, and how';

export const contentCalls: readonly ApiCall[] = [
  call('info outside of a namespace', (api) => api.outside.client(Content).info({ digest: hello })),
  call('info of an absent one', (api) => content(api).info({ digest: absent })),
  call('info of a bad digest', (api) => content(api).info({ digest: 'nope' }), { words: digestWords }),
  call('info of a short digest', (api) => content(api).info({ digest: 'sha256:abc' }), {
    words: digestWords,
  }),
  call('info of no digest', (api) => content(api).info({ digest: '' }), { words: digestWords }),
  call('info of an unknown algorithm', (api) => content(api).info({ digest: `md5:${'1'.repeat(32)}` }), {
    words: digestWords,
  }),
  call('info of capitals', (api) => content(api).info({ digest: `sha256:${'A'.repeat(64)}` }), {
    words: digestWords,
  }),
  call('read of an absent one', (api) => all(content(api).read({ digest: absent }))),
  call('read of a bad digest', (api) => all(content(api).read({ digest: 'nope' })), { words: digestWords }),
  call('delete of an absent one', (api) => content(api).delete({ digest: absent })),
  call('delete of a bad digest', (api) => content(api).delete({ digest: 'nope' }), { words: digestWords }),
  call('update of an absent one', (api) => content(api).update({ info: { digest: absent } })),
  call('update of a bad digest', (api) => content(api).update({ info: { digest: 'nope' } }), {
    words: digestWords,
  }),
  call('list of nothing', (api) => all(content(api).list({}))),
  call('put', (api) => put(api, 'hello')),
  call('put others', async (api) => {
    await put(api, 'other');
    await put(api, 'third');
  }),
  call('info', (api) => content(api).info({ digest: hello })),
  call('info in another namespace', (api) =>
    content(api).info({ digest: hello }, { namespace: 'elsewhere' }),
  ),
  call('list in order', (api) => digests(api, [])),
  call('read of all', (api) => read(api, 0n, 0n)),
  call('read from the middle', (api) => read(api, 2n, 0n)),
  call('read of a part', (api) => read(api, 1n, 2n)),
  call('read from before the start', (api) => read(api, -6n, -2n)),
  call('read at the end', (api) => read(api, 5n, 0n)),
  call('read beyond the end', (api) => read(api, 3n, 99n)),
  call('read past the end', (api) => read(api, 6n, 0n)),
  call('update of one label', (api) => update(api, { x: 'y', z: 'w' }, ['labels.x'])),
  call('update of another', (api) => update(api, { z: 'w' }, ['labels.z'])),
  call('update of a label to nothing', (api) => update(api, {}, ['labels.z'])),
  call('update of another field', (api) => update(api, {}, ['size'])),
  call('update of a field that is not there', (api) => update(api, {}, ['zz.top'])),
  call('update with a long label', (api) => update(api, longLabel, ['labels'])),
  call('filter by label', (api) => digests(api, ['labels.x==y'])),
  call('filter by digest', (api) => digests(api, [`digest==${hello}`])),
  call('filter by size, which is none', (api) => digests(api, ['size==5'])),
  call('filter that does not parse', (api) => digests(api, ['digest=='])),
  call('update of all labels', (api) => update(api, { q: 'r' })),
  call('info after updates', (api) => content(api).info({ digest: hello })),
  call('delete', (api) => content(api).delete({ digest: hello })),
  call('delete again', (api) => content(api).delete({ digest: hello })),
  call('read of a deleted one', (api) => all(content(api).read({ digest: hello }))),
];
