import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { background, withNamespace } from '../../base/context.ts';
import { ContainerdError } from '../../base/errors.ts';
import { parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfMs } from '../../base/time.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { eventsOverTheWire } from '../../testing/remote-stores.ts';
import { until } from '../../testing/until.ts';
import { packAny } from '../../wire/any.ts';
import { TaskExitSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { eventExchangeSuite } from './event-exchange.suite.ts';
import { Exchange } from './exchange.ts';

const nobody = background(silentLogger);
const ctx = withNamespace(nobody, parseNamespace('default'));
const other = withNamespace(nobody, parseNamespace('k8s.io'));
const exit = packAny(TaskExitSchema, { containerId: 'c1', id: 'c1', pid: 7 });

/** The topics that arrive until a closing event does. */
async function topics(
  exchange: Exchange,
  filters: string[],
  publish: () => Promise<void>,
): Promise<string[]> {
  const seen: string[] = [];
  const stream = exchange.subscribe(nobody, [...filters, 'topic=="/end"']);
  await publish();
  await exchange.publish(ctx, '/end', exit);
  for await (const envelope of stream) {
    if (envelope.topic === '/end') break;
    seen.push(envelope.topic);
  }
  return seen;
}

eventExchangeSuite('direct', async () => {
  const exchange = new Exchange();
  return {
    exchange,
    subscribed: async (count) => assert.equal(exchange.subscribers, count),
    [Symbol.asyncDispose]: async () => {},
  };
});

eventExchangeSuite('over the wire', async () => {
  const exchange = new Exchange();
  const { remote, [Symbol.asyncDispose]: dispose } = await eventsOverTheWire(exchange);
  return {
    exchange: remote,
    subscribed: (count) =>
      until(`${count} subscribers are heard`, () => exchange.subscribers === count, { everyMs: 1 }),
    [Symbol.asyncDispose]: dispose,
  };
});

describe('event exchange', () => {
  it('begins at the moment of the call', async () => {
    const exchange = new Exchange();
    await exchange.publish(ctx, '/before', exit);
    assert.deepEqual(await topics(exchange, ['topic!="/end"'], () => exchange.publish(ctx, '/after', exit)), [
      '/after',
    ]);
  });

  it('tells new subscribers what happened before it was made, for a while', async () => {
    const before = { timestamp: instantOfMs(5), namespace: ctx.namespace, topic: '/old', event: exit };
    const elsewhere = { ...before, namespace: other.namespace };
    const exchange = new Exchange();
    await exchange.forward(nobody, before);
    await exchange.forward(nobody, elsewhere);
    await exchange.publish(ctx, '/lost', exit);
    const late = (): Promise<string[]> =>
      topics(exchange, ['namespace==default,topic!="/end"'], () => exchange.publish(ctx, '/new', exit));
    assert.deepEqual(await late(), ['/old', '/new']);
    assert.deepEqual(await late(), ['/old', '/new'], 'each subscriber hears it, once');

    const past = new Exchange({ missedMs: -1 });
    await past.forward(nobody, before);
    assert.deepEqual(await topics(past, ['namespace==default'], () => past.publish(ctx, '/new', exit)), [
      '/new',
    ]);
  });

  it('answers a filter that does not parse at once', () => {
    const exchange = new Exchange();
    assert.throws(
      () => exchange.subscribe(nobody, ['a==']),
      (error) => error instanceof ContainerdError && error.code === 'InvalidArgument',
    );
    assert.equal(exchange.subscribers, 0);
  });

  it('tells a subscriber that is too far behind, after what was queued', async () => {
    for (const bounds of [{ queue: 3 }, { queueBytes: 900 }]) {
      const exchange = new Exchange(bounds);
      const stream = exchange.subscribe(nobody, []);
      const lively = exchange.subscribe(nobody, ['topic=="/5"']);
      for (let index = 0; index < 6; index += 1) await exchange.publish(ctx, `/${index}`, exit);
      const seen: string[] = [];
      await rejectsWith(
        (async () => {
          for await (const { topic } of stream) seen.push(topic);
        })(),
        'ResourceExhausted',
      );
      assert(seen.length >= 3 && seen.length < 6, String(seen));
      for await (const { topic } of lively) {
        assert.equal(topic, '/5');
        break;
      }
    }
  });
});
