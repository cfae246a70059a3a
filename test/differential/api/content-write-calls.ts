/** Content.Write, Status, ListStatuses and Abort. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { digestOf } from '../../../src/base/digest.ts';
import {
  Content,
  WriteAction,
  type WriteContentRequestSchema,
} from '../../../src/wire/gen/containerd/services/content/v1/content_pb.js';
import { Leases } from '../../../src/wire/gen/containerd/services/leases/v1/leases_pb.js';
import { type Api, type ApiCall, all, bytes, call, leaseNamed, longLabel, messages } from './api-harness.ts';

type Message = Omit<MessageInitShape<typeof WriteContentRequestSchema>, '$typeName'>;

const { STAT: stat, WRITE: write, COMMIT: commit } = WriteAction;
const content = (api: Api) => api.client(Content);
const hello = digestOf('hello');
const absent = digestOf('absent');
const send = (api: Api, ...requests: Message[]) => all(content(api).write(messages(...requests)));

/** In the order of refs: the peer's is that of a directory. */
const statuses = async (api: Api, filters: string[]) =>
  (await content(api).listStatuses({ filters })).statuses.sort((a, b) => (a.ref < b.ref ? -1 : 1));

/** Holds the lock of a ref while `during` runs. */
async function locked(api: Api, ref: string, during: () => Promise<unknown>): Promise<unknown> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const slow = (async function* (): AsyncGenerator<Message, void> {
    yield { action: write, ref, data: bytes('abc') };
    await over;
  })();
  const held = content(api).write(slow)[Symbol.asyncIterator]();
  await held.next();
  try {
    return await during();
  } finally {
    resolve();
    while ((await held.next()).done !== true);
  }
}

export const contentWriteCalls: readonly ApiCall[] = [
  call('outside of a namespace', (api) =>
    all(api.outside.client(Content).write(messages({ action: stat, ref: 'r' }))),
  ),
  call('no message', (api) => send(api)),
  call('no ref', (api) => send(api, { action: write, data: bytes('x') })),
  call(
    'a bad digest',
    async (api) => {
      const answers = await send(api, { action: write, ref: 'bad', expected: 'nope' });
      await content(api).abort({ ref: 'bad' });
      return answers;
    },
    { differs: 'the peer takes a digest that no bytes can have until the commit' },
  ),
  call('each message answered', (api) =>
    send(
      api,
      { action: stat, ref: 'w1', total: 5n },
      { action: write, data: bytes('hel') },
      { action: write, offset: 3n, data: bytes('lo') },
      { action: stat },
      { action: commit, offset: 5n, expected: hello, total: 5n, labels: { a: 'b', e: '' } },
    ),
  ),
  call('what came of it', (api) => content(api).info({ digest: hello })),
  call('its status', (api) => content(api).status({ ref: 'w1' })),
  call('committed twice', (api) =>
    send(api, { action: commit, ref: 'w1-again', data: bytes('hello'), total: 5n, expected: hello }),
  ),
  call('committed twice without an expected digest', (api) =>
    send(api, { action: commit, ref: 'w1-again', data: bytes('hello'), total: 5n }),
  ),
  call('status after that', (api) => statuses(api, [])),
  call('expected late, which is there', (api) =>
    send(
      api,
      { action: write, ref: 'late', data: bytes('hello') },
      { action: write, offset: 5n, expected: hello },
    ),
  ),
  call('a wrong offset', (api) =>
    send(
      api,
      { action: write, ref: 'w2', data: bytes('abc') },
      { action: write, offset: 9n, data: bytes('d') },
    ),
  ),
  call('status of what stays', (api) => content(api).status({ ref: 'w2' })),
  call('resumed', (api) =>
    send(
      api,
      { action: stat, ref: 'w2' },
      { action: write, offset: 3n, data: bytes('d') },
      { action: write, offset: -1n, data: bytes('e') },
    ),
  ),
  call('started over', (api) =>
    send(api, { action: stat, ref: 'w2' }, { action: write, offset: 0n, data: bytes('xy') }),
  ),
  call('commit of a wrong size', (api) => send(api, { action: commit, ref: 'w2', offset: 2n, total: 9n })),
  call('commit of a wrong digest', (api) =>
    send(api, { action: commit, ref: 'w2', offset: 2n, expected: absent }),
  ),
  call('commit with a long label', (api) =>
    send(api, { action: commit, ref: 'long', data: bytes('long'), labels: longLabel }),
  ),
  call('commit at a wrong offset', (api) => send(api, { action: commit, ref: 'w2', offset: 7n })),
  call('an open one of another total', (api) => send(api, { action: stat, ref: 'w2', total: 100n })),
  call('a locked ref', (api) => locked(api, 'locked', () => send(api, { action: stat, ref: 'locked' })), {
    words: 'ours names the ref as the client knows it',
  }),
  call('a status while it is written', (api) =>
    locked(api, 'locked-2', () => content(api).status({ ref: 'locked-2' })),
  ),
  call('reopened without its total', async (api) => {
    await send(api, { action: write, ref: 'total', data: bytes('abc'), total: 9n });
    return send(api, { action: stat, ref: 'total' }, { action: write, offset: 3n, data: bytes('d') });
  }),
  call('a status with a total', (api) => content(api).status({ ref: 'total' })),
  call('reopened with another total', (api) => send(api, { action: stat, ref: 'total', total: 8n })),
  call('abort of that', (api) => content(api).abort({ ref: 'total' })),
  call('an abort while it is written', async (api) =>
    locked(api, 'locked-3', () => content(api).abort({ ref: 'locked-3' })),
  ),
  call('status of an absent one', (api) => content(api).status({ ref: 'absent' })),
  call('status of no ref', (api) => content(api).status({ ref: '' })),
  call('statuses', (api) => statuses(api, [])),
  call('statuses by ref', (api) => statuses(api, ['ref==w2'])),
  call('statuses by expression', (api) => statuses(api, ['ref~=^lock'])),
  call('statuses by a filter that does not parse', (api) => statuses(api, ['ref='])),
  call('abort', (api) => content(api).abort({ ref: 'w2' })),
  call('abort again', (api) => content(api).abort({ ref: 'w2' })),
  call('abort of no ref', (api) => content(api).abort({ ref: '' })),
  call('another namespace names what is here', (api) =>
    all(
      content(api).write(
        messages({ action: stat, ref: 'given', expected: hello }, { action: commit, offset: 5n }),
        {
          namespace: `${api.namespace}-other`,
        },
      ),
    ),
  ),
  call(
    'under an unknown lease',
    (api) => all(content(api).write(messages({ action: stat, ref: 'leased' }), { lease: 'no-such-lease' })),
    { words: leaseNamed },
  ),
  call('under a lease', async (api) => {
    await api.client(Leases).create({ id: 'write-lease' });
    const request = { action: commit, ref: 'leased', data: bytes('leased'), total: 6n };
    await all(content(api).write(messages(request), { lease: 'write-lease' }));
    await all(content(api).write(messages({ action: stat, ref: 'open' }), { lease: 'write-lease' }));
    return api.client(Leases).listResources({ id: 'write-lease' });
  }),
];
