/** The contract of event exchanges as tests: run against every implementation. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { background, withNamespace, withSignal } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfMs } from '../../base/time.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { packAny } from '../../wire/any.ts';
import { ContainerCreateSchema } from '../../wire/gen/containerd/events/container_pb.js';
import { TaskExitSchema, TaskIOSchema } from '../../wire/gen/containerd/events/task_pb.js';
import type { Envelope, EventExchange } from './event-exchange.ts';

export interface ExchangeUnderTest extends AsyncDisposable {
  readonly exchange: EventExchange;
  /** Resolves when that many subscribers are heard. */
  subscribed(count: number): Promise<void>;
}

const nobody = background(silentLogger);
const ctx = withNamespace(nobody, parseNamespace('default'));
const other = withNamespace(nobody, parseNamespace('k8s.io'));
const exit = packAny(TaskExitSchema, { containerId: 'c1', id: 'c1', pid: 7 });

/** The envelopes until a closing event comes. */
async function heard({ exchange }: ExchangeUnderTest, stream: AsyncIterable<Envelope>): Promise<Envelope[]> {
  await exchange.publish(ctx, '/end', exit);
  const seen: Envelope[] = [];
  for await (const envelope of stream) {
    if (envelope.topic === '/end') break;
    seen.push(envelope);
  }
  return seen;
}

const topicsOf = (envelopes: readonly Envelope[]): string[] => envelopes.map(({ topic }) => topic);

export function eventExchangeSuite(name: string, make: () => Promise<ExchangeUnderTest>): void {
  describe(`event exchange: ${name}`, () => {
    it('delivers to everybody who listens, in order', async () => {
      await using made = await make();
      const { exchange } = made;
      const streams = [exchange.subscribe(nobody, []), exchange.subscribe(nobody, [])];
      await made.subscribed(2);
      for (const topic of ['/a', '/b', '/c/d']) await exchange.publish(ctx, topic, exit);
      for (const stream of streams) {
        const seen: Envelope[] = [];
        for await (const envelope of stream) {
          seen.push(envelope);
          if (seen.length === 3) break;
        }
        assert.deepEqual(topicsOf(seen), ['/a', '/b', '/c/d']);
        assert.ok(seen.every(({ namespace }) => namespace === 'default'));
        assert.ok((seen[0]?.timestamp ?? 0n) < (seen[1]?.timestamp ?? 0n));
      }
      await made.subscribed(0);
    });

    it('refuses bad topics and a missing namespace', async () => {
      await using made = await make();
      const { exchange } = made;
      for (const topic of ['', 'x', '/', '/a//b', '/a/', '/a b', `/${'x'.repeat(77)}`])
        await rejectsWith(exchange.publish(ctx, topic, exit), 'InvalidArgument');
      await rejectsWith(exchange.publish(nobody, '/a', exit), 'FailedPrecondition');
      const envelope = { timestamp: instantOfMs(5), namespace: other.namespace, topic: 'bad', event: exit };
      await rejectsWith(exchange.forward(nobody, envelope), 'InvalidArgument');
    });

    it('forwards an envelope as it is', async () => {
      await using made = await make();
      const { exchange } = made;
      const stream = exchange.subscribe(nobody, []);
      await made.subscribed(1);
      const namespace = other.namespace;
      const envelope = { timestamp: instantOfMs(5), namespace, topic: '/tasks/exit', event: exit };
      await exchange.forward(nobody, envelope);
      const [received] = await heard(made, stream);
      assert.deepEqual(
        { ...received, event: { ...received?.event, value: Buffer.from(received?.event.value ?? []) } },
        { ...envelope, event: { ...exit, value: Buffer.from(exit.value) } },
      );
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
        await using made = await make();
        const { exchange } = made;
        const create = packAny(ContainerCreateSchema, { id: 'c2', runtime: { name: 'runc' } });
        const stream = exchange.subscribe(nobody, [filter, 'topic=="/end"']);
        await made.subscribed(1);
        await exchange.publish(ctx, '/tasks/exit', exit);
        await exchange.publish(ctx, '/tasks/io', packAny(TaskIOSchema, { terminal: true }));
        await exchange.publish(ctx, '/containers/create', create);
        await exchange.publish(other, '/other', create);
        await exchange.publish(ctx, '/unknown', { typeUrl: 'not.Known', value: Uint8Array.of(255) });
        const malformed = { typeUrl: 'containerd.events.TaskExit', value: Uint8Array.of(255) };
        await exchange.publish(ctx, '/malformed', malformed);
        const seen = (await heard(made, stream)).filter(({ topic }) => topic !== '/end');
        assert.deepEqual(topicsOf(seen), expected);
      });

    it('answers a filter that does not parse', async () => {
      await using made = await make();
      await rejectsWith(
        (async () => Array.fromAsync(made.exchange.subscribe(nobody, ['a=='])))(),
        'InvalidArgument',
      );
      await made.subscribed(0);
    });

    it('ends with the signal, also for a subscriber that never reads', async () => {
      await using made = await make();
      const controller = new AbortController();
      const bound = withSignal(ctx, controller.signal);
      const stream = made.exchange.subscribe(bound, []);
      made.exchange.subscribe(bound, []);
      await made.subscribed(2);
      controller.abort();
      await made.subscribed(0);
      // Over the wire it is the caller who learns that he gave up.
      const ended = await Array.fromAsync(stream).catch((error: unknown) => {
        assert.ok(hasCode(error, 'Canceled'), String(error));
        return [];
      });
      assert.deepEqual(ended, []);
    });
  });
}
