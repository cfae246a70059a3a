import assert from 'node:assert/strict';
import { test } from 'node:test';
import { invalidArgument, unavailable } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { silentLogger } from '../base/logger.ts';
import { unpackAny } from '../wire/any.ts';
import { TaskOOMSchema } from '../wire/gen/containerd/events/task_pb.js';
import type { ForwardRequest } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import type { Connection } from '../wire/service.ts';
import { EventPublisher } from './event-publisher.ts';

/** A daemon that takes what `take` lets through. */
function daemon(take: (id: string) => void): Connection {
  const forward = async (request: ForwardRequest): Promise<object> => {
    const event = request.envelope?.event;
    take(event === undefined ? '' : unpackAny(TaskOOMSchema, event).containerId);
    return {};
  };
  return {
    client: () => ({ forward }),
    closed: new Promise<void>(() => {}),
    [Symbol.asyncDispose]: async () => {},
  } as unknown as Connection;
}

const publisherTo = (connect: () => Promise<Connection>): EventPublisher =>
  new EventPublisher({ connect, log: silentLogger }, { retryMs: 1 });

const publish = (publisher: EventPublisher, id: string, onTaken?: () => void): void =>
  publisher.publish('ns', '/tasks/oom', TaskOOMSchema, { containerId: id }, onTaken);

void test('events wait for a daemon that is away, and keep their order', async () => {
  let away = 7;
  const taken: string[] = [];
  await using publisher = publisherTo(async () => {
    away -= 1;
    if (away >= 0) throw unavailable('nobody answers');
    return daemon((id) => taken.push(id));
  });
  for (const id of ['a', 'b', 'c']) publish(publisher, id);
  await publisher.flushed(10_000);
  assert.deepEqual(taken, ['a', 'b', 'c']);
  assert.equal(publisher.size, 0);
});

void test('an event that is refused is tried five times and does not hold up the next', async () => {
  const tries: string[] = [];
  await using publisher = publisherTo(async () =>
    daemon((id) => {
      tries.push(id);
      if (id === 'bad') throw invalidArgument('no');
    }),
  );
  publish(publisher, 'bad');
  publish(publisher, 'good');
  await publisher.flushed(10_000);
  assert.deepEqual(tries, ['bad', 'bad', 'bad', 'bad', 'bad', 'good']);
});

void test('the queue has a bound; the oldest that is not on its way goes', async () => {
  const opened = Promise.withResolvers<void>();
  const taken: string[] = [];
  await using publisher = publisherTo(async () => {
    await opened.promise;
    return daemon((id) => taken.push(id));
  });
  for (let count = 0; count < limits.shimEventQueue + 2; count += 1) publish(publisher, String(count));
  assert.equal(publisher.size, limits.shimEventQueue);
  opened.resolve();
  await publisher.flushed(30_000);
  assert.equal(taken.length, limits.shimEventQueue);
  assert.deepEqual(taken.slice(0, 2), ['0', '3']);
  assert.equal(taken.at(-1), String(limits.shimEventQueue + 1));
});

void test('what the daemon took is told, once, and what it refused is not', async () => {
  const sent: string[] = [];
  const told: string[] = [];
  await using publisher = publisherTo(async () =>
    daemon((id) => {
      sent.push(id);
      if (id === 'bad') throw invalidArgument('no');
    }),
  );
  for (const id of ['a', 'bad', 'b'])
    publish(publisher, id, () => {
      told.push(id);
      throw new Error('the disk is full');
    });
  assert.deepEqual(told, []);
  await publisher.flushed(10_000);
  assert.deepEqual(told, ['a', 'b']);
  assert.deepEqual(sent, ['a', ...Array<string>(5).fill('bad'), 'b']);
});
