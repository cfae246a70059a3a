/** The events services over gRPC and ttrpc. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../base/logger.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { Events } from '../wire/gen/containerd/services/events/v1/events_pb.js';
import { Events as TtrpcEvents } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import { connectTtrpc } from '../wire/ttrpc/client.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { inside, ServiceFixture, sockets } from './service.fixture.ts';
import { ttrpcEventsService } from './ttrpc-events.ts';

test('events, over gRPC and from shims over ttrpc', async () => {
  await using services = await ServiceFixture.make();
  const { fixture, exchange, connection } = services;
  const events = connection.client(Events);
  const event = { typeUrl: 'containerd.events.TaskOOM', value: Uint8Array.of(10, 1, 99) };
  await rejectsWith(events.publish({ topic: '/a', event }), 'FailedPrecondition');
  await rejectsWith(events.publish({ topic: 'a', event }, inside), 'InvalidArgument');
  const zero = { seconds: -62_135_596_800n };
  await rejectsWith(
    events.forward({ envelope: { namespace: 'a', topic: '/a', timestamp: zero } }),
    'InvalidArgument',
  );
  await rejectsWith(events.forward({ envelope: { namespace: '..', topic: '/a' } }), 'InvalidArgument');

  const place = await UnixListener.listen({ sockets }, join(fixture.directory, 'ttrpc.sock'));
  const ttrpc = new TtrpcServer(
    { services: [ttrpcEventsService({ events: exchange })], log: silentLogger },
    { sameUserOnly: true },
  );
  ttrpc.attach(place);
  const shim = await connectTtrpc(place.path);

  const subscription = events.subscribe({ filters: ['event.container_id==c'] })[Symbol.asyncIterator]();
  const first = subscription.next();
  while (exchange.subscribers === 0) await new Promise((resolve) => setImmediate(resolve));
  await events.publish({ topic: '/tasks/oom', event }, inside);
  assert.equal((await first).value?.namespace, 'default');
  const envelope = { namespace: 'moby', topic: '/tasks/oom', event, timestamp: { seconds: 5n, nanos: 7 } };
  await shim.client(TtrpcEvents).forward({ envelope });
  const second = (await subscription.next()).value;
  assert.deepEqual(
    [second?.namespace, second?.timestamp?.seconds, second?.timestamp?.nanos],
    ['moby', 5n, 7],
  );
  assert.deepEqual([...(second?.event?.value ?? [])], [...event.value]);
  await subscription.return?.();
  while (exchange.subscribers > 0) await new Promise((resolve) => setImmediate(resolve));
  await shim[Symbol.asyncDispose]();
  await ttrpc[Symbol.asyncDispose]();
  await place.close();
});
