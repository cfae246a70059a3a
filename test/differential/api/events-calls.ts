/** Calls of containerd.services.events.v1; what a subscriber hears is in ../events.test.ts. */
import { until } from '../../../src/testing/until.ts';
import { Events } from '../../../src/wire/gen/containerd/services/events/v1/events_pb.js';
import { type Api, type ApiCall, all, bytes, call, classLost } from './api-harness.ts';

const events = (api: Api) => api.client(Events);
const event = { typeUrl: 'containerd.events.TaskOOM', value: Uint8Array.of(10, 1, 99) };
const timestamp = { seconds: 5n, nanos: 7 };
const forward = (api: Api, more: object) =>
  events(api).forward({ envelope: { namespace: 'n', topic: '/a', event, timestamp, ...more } });

/** What arrives of three envelopes, one of them outside of the filters. */
async function heard(api: Api, filters: string[]): Promise<unknown> {
  const stop = new AbortController();
  const arrivals = events(api).subscribe({ filters }, { signal: stop.signal })[Symbol.asyncIterator]();
  const first = arrivals.next();
  const namespace = `${api.namespace}-heard`;
  const arrived = first.then(() => true);
  // There is no word when a subscription is live: told until it answers.
  await until('the subscription is live', async () => {
    await forward(api, { namespace, topic: '/probe' });
    return Promise.race([arrived, new Promise<boolean>((resolve) => setImmediate(resolve, false))]);
  });
  await forward(api, { namespace, topic: '/other', event: { typeUrl: 'x.Unknown', value: bytes('?') } });
  await forward(api, { namespace, topic: '/last' });
  const last: unknown[] = [];
  for (;;) {
    const { value } = await arrivals.next();
    if (value === undefined) break;
    if (value.topic === '/probe') continue;
    last.push([value.namespace, value.topic, value.timestamp?.nanos, value.event?.typeUrl]);
    if (value.topic === '/last') break;
  }
  stop.abort();
  await arrivals.next().catch(() => {});
  return last;
}

export const eventCalls: readonly ApiCall[] = [
  call('publish outside of a namespace', (api) => api.outside.client(Events).publish({ topic: '/a', event })),
  call('publish', (api) => events(api).publish({ topic: '/a/b', event })),
  call('publish to no topic', (api) => events(api).publish({ topic: '', event })),
  call('publish to a bare topic', (api) => events(api).publish({ topic: 'a', event })),
  call('publish to the root', (api) => events(api).publish({ topic: '/', event })),
  call('publish to a bad topic', (api) => events(api).publish({ topic: '/a/../b', event })),
  call('forward', (api) => forward(api, {})),
  call('forward without a namespace', (api) => forward(api, { namespace: '' })),
  call('forward in a bad namespace', (api) => forward(api, { namespace: '..' })),
  call('forward to a bad topic', (api) => forward(api, { topic: 'a' })),
  call('forward without a time', (api) => forward(api, { timestamp: { seconds: -62_135_596_800n } })),
  call('a filter that does not parse', (api) => all(events(api).subscribe({ filters: ['topic='] })), {
    differs: classLost,
  }),
  call('a subscriber hears its namespace', (api) => heard(api, [`namespace==${api.namespace}-heard`])),
  call('a subscriber hears its topics', (api) => heard(api, ['topic~="^/(probe|last)"'])),
  call('a subscriber hears by field', (api) => heard(api, ['event.container_id==c'])),
];
