import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { background, type NamespacedContext, withNamespace, withSignal } from '../../base/context.ts';
import { ContainerdError } from '../../base/errors.ts';
import { parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfMs } from '../../base/time.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { packAny } from '../../wire/any.ts';
import { ContainerCreateSchema } from '../../wire/gen/containerd/events/container_pb.js';
import { TaskExitSchema, TaskIOSchema } from '../../wire/gen/containerd/events/task_pb.js';
import type { Envelope } from './event-exchange.ts';
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

describe('event exchange', () => {
  it('delivers to everybody who listens, in order, from the moment of the call', async () => {
    const exchange = new Exchange();
    await exchange.publish(ctx, '/before', exit);
    const streams = [exchange.subscribe(nobody, []), exchange.subscribe(nobody, [])];
    for (const topic of ['/a', '/b', '/c/d']) await exchange.publish(ctx, topic, exit);
    for (const stream of streams) {
      const seen: Envelope[] = [];
      for await (const envelope of stream) {
        seen.push(envelope);
        if (seen.length === 3) break;
      }
      assert.deepEqual(
        seen.map(({ topic }) => topic),
        ['/a', '/b', '/c/d'],
      );
      assert(seen.every(({ namespace }) => namespace === 'default'));
      assert((seen[0]?.timestamp ?? 0n) < (seen[1]?.timestamp ?? 0n));
    }
    assert.equal(exchange.subscribers, 0);
  });

  it('refuses bad topics and a missing namespace', async () => {
    const exchange = new Exchange();
    for (const topic of ['', 'x', '/', '/a//b', '/a/', '/a b', `/${'x'.repeat(77)}`])
      await rejectsWith(exchange.publish(ctx, topic, exit), 'InvalidArgument');
    await rejectsWith(exchange.publish(nobody, '/a', exit), 'FailedPrecondition');
    const envelope = { timestamp: instantOfMs(5), namespace: other.namespace, topic: 'bad', event: exit };
    await rejectsWith(exchange.forward(nobody, envelope), 'InvalidArgument');
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

  it('forwards an envelope as it is', async () => {
    const exchange = new Exchange();
    const stream = exchange.subscribe(nobody, [])[Symbol.asyncIterator]();
    const envelope = {
      timestamp: instantOfMs(5),
      namespace: other.namespace,
      topic: '/tasks/exit',
      event: exit,
    };
    await exchange.forward(nobody, envelope);
    assert.deepEqual((await stream.next()).value, envelope);
    await stream.return?.();
  });

  // Fields as containerd's clients filter by them; numbers are not visible.
  for (const [filter, expected] of [
    ['namespace==k8s.io', ['/other']],
    ['topic~="^/tasks/"', ['/tasks/exit', '/tasks/io']],
    ['event.container_id==c1', ['/tasks/exit']],
    ['event.pid==7', []],
    ['event.terminal==true', ['/tasks/io']],
    ['event.runtime.name==runc', ['/containers/create', '/other']],
    ['event.container_id', ['/tasks/exit']],
    ['event.nothing', []],
    ['namespace==default,event.id==c2', ['/containers/create']],
  ] as const)
    it(`filters by ${filter}`, async () => {
      const exchange = new Exchange();
      const create = packAny(ContainerCreateSchema, { id: 'c2', runtime: { name: 'runc' } });
      const unknown = { typeUrl: 'not.Known', value: Uint8Array.of(255) };
      const malformed = { typeUrl: 'containerd.events.TaskExit', value: Uint8Array.of(255) };
      const seen = await topics(exchange, [filter], async () => {
        await exchange.publish(ctx, '/tasks/exit', exit);
        await exchange.publish(ctx, '/tasks/io', packAny(TaskIOSchema, { terminal: true }));
        await exchange.publish(ctx, '/containers/create', create);
        await exchange.publish(other, '/other', create);
        await exchange.publish(ctx, '/unknown', unknown);
        await exchange.publish(ctx, '/malformed', malformed);
      });
      assert.deepEqual(seen, expected);
    });

  it('answers a filter that does not parse at once', () => {
    const exchange = new Exchange();
    assert.throws(
      () => exchange.subscribe(nobody, ['a==']),
      (error) => error instanceof ContainerdError && error.code === 'InvalidArgument',
    );
    assert.equal(exchange.subscribers, 0);
  });

  it('ends with the signal, also of a subscriber that never reads', async () => {
    const exchange = new Exchange();
    const controller = new AbortController();
    const bound: NamespacedContext = withSignal(ctx, controller.signal);
    const stream = exchange.subscribe(bound, []);
    exchange.subscribe(bound, []);
    assert.equal(exchange.subscribers, 2);
    controller.abort();
    assert.equal(exchange.subscribers, 0);
    for await (const _ of stream) assert.fail('nothing was published');
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
