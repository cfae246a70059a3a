/** Streams beside calls: names, order, back-pressure, credit, and ends that nobody misses. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import type { AnyValue } from '../../base/any-value.ts';
import { AsyncQueue } from '../../base/async-queue.ts';
import { hasCode } from '../../base/errors.ts';
import { parseNamespace } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { packAny, typeNameOf, unpackAny } from '../../wire/any.ts';
import { DataSchema, WindowUpdateSchema } from '../../wire/gen/containerd/types/transfer/streaming_pb.js';
import { receiveBytes, sendBytes } from './binary-stream.ts';
import { ServedStream } from './served-stream.ts';
import { StreamManager, type ValueStream } from './stream-manager.ts';

const namespace = parseNamespace('ns');
const { signal } = new AbortController();
const value = (text: string): AnyValue => ({ typeUrl: text, value: new Uint8Array() });

/** Two ends of a stream, as a client and the daemon hold them. */
function pair(): [ValueStream, ValueStream] {
  const queues = [new AsyncQueue<AnyValue>(), new AsyncQueue<AnyValue>()] as const;
  const end = (incoming: AsyncQueue<AnyValue>, outgoing: AsyncQueue<AnyValue>): ValueStream => {
    const values = incoming[Symbol.asyncIterator]();
    return {
      send: async (sent) => outgoing.push(sent),
      receive: async () => {
        const step = await values.next();
        return step.done === true ? undefined : step.value;
      },
      close: async () => outgoing.end(),
    };
  };
  return [end(queues[0], queues[1]), end(queues[1], queues[0])];
}

async function* chunksOf(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array, void> {
  let at = 0;
  for (let turn = 0; at < bytes.byteLength; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

void describe('StreamManager', () => {
  void it('keeps a name for as long as its stream lives, within its namespace', () => {
    const streams = new StreamManager();
    const [stream] = pair();
    const held = streams.register(namespace, 'a', stream);
    assert.equal(streams.get(namespace, 'a'), stream);
    assert.throws(
      () => streams.register(namespace, 'a', stream),
      (error) => hasCode(error, 'AlreadyExists'),
    );
    assert.throws(
      () => streams.get(parseNamespace('other'), 'a'),
      (error) => hasCode(error, 'NotFound'),
    );
    held[Symbol.dispose]();
    assert.throws(
      () => streams.get(namespace, 'a'),
      (error) => hasCode(error, 'NotFound'),
    );
    assert.equal(streams.size, 0);
  });
  void it('holds so many and no more, under names of a bounded length', () => {
    const streams = new StreamManager();
    const [stream] = pair();
    for (const id of ['', 'x'.repeat(limits.streamIdBytes + 1)])
      assert.throws(
        () => streams.register(namespace, id, stream),
        (error) => hasCode(error, 'InvalidArgument'),
      );
    const held = Array.from({ length: limits.streams }, (_value, index) =>
      streams.register(namespace, String(index), stream),
    );
    assert.throws(
      () => streams.register(namespace, 'more', stream),
      (error) => hasCode(error, 'ResourceExhausted'),
    );
    held[0]?.[Symbol.dispose]();
    streams.register(namespace, 'more', stream);
    assert.equal(streams.size, limits.streams);
  });
});

void describe('ServedStream', () => {
  const served = (incoming: AnyValue[] = []): ServedStream =>
    new ServedStream(
      (async function* () {
        yield* incoming;
      })(),
    );

  void it('hands on what is sent, in order, and ends when it is closed', async () => {
    const stream = served();
    await stream.send(value('1'));
    await stream.send(value('2'));
    const closed = stream.close();
    const seen: string[] = [];
    for await (const { typeUrl } of stream.values()) seen.push(typeUrl);
    await closed;
    assert.deepEqual(seen, ['1', '2']);
    await assert.rejects(stream.send(value('3')), (error) => hasCode(error, 'Unavailable'));
  });
  void it('close resolves only when all has been taken', async () => {
    const stream = served();
    await stream.send(value('1'));
    let closed = false;
    const closing = stream.close().then(() => (closed = true));
    const values = stream.values();
    await values.next();
    assert.equal(closed, false);
    assert.equal((await values.next()).done, true);
    await closing;
  });
  void it('makes a sender wait for a client that does not take', async () => {
    const stream = served();
    let sent = 0;
    const sending = (async () => {
      for (; sent < 200; sent += 1) await stream.send(value(String(sent)));
    })();
    await new Promise(setImmediate);
    assert.ok(sent < 100, `${sent} values wait`);
    const values = stream.values();
    for (let taken = 0; taken < 200; taken += 1)
      assert.equal((await values.next()).value?.typeUrl, String(taken));
    await sending;
  });
  void it('a client that goes away frees whoever sends', async () => {
    const stream = served();
    const sending = (async () => {
      for (;;) await stream.send(value('x'));
    })();
    stream.abandon();
    await assert.rejects(sending, (error) => hasCode(error, 'Unavailable'));
    await stream.close();
  });
  void it('receives what the client sends, to its end', async () => {
    const stream = served([value('a')]);
    assert.equal((await stream.receive())?.typeUrl, 'a');
    assert.equal(await stream.receive(), undefined);
  });
});

void describe('binary streams', () => {
  void it('bring any bytes in any pieces through', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300_000, size: 'max' }),
        fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 5 }),
        async (bytes, sizes) => {
          const [near, far] = pair();
          const [received] = await Promise.all([
            collect(receiveBytes(far, { signal })),
            sendBytes(near, chunksOf(bytes, sizes), { signal }),
          ]);
          assert.ok(received.equals(bytes));
        },
      ),
      { numRuns: 20 },
    );
  });
  void it('never send more than was granted, in messages that are not too large', async () => {
    const [near, far] = pair();
    const sending = sendBytes(near, chunksOf(new Uint8Array(200_000), [70_000]), { signal });
    let granted = 0;
    let received = 0;
    while (received < 200_000) {
      if (granted === received) {
        await far.send(packAny(WindowUpdateSchema, { update: 50_000 }));
        granted += 50_000;
      }
      const message = await far.receive();
      assert.equal(message && typeNameOf(message), DataSchema.typeName);
      const { data } = unpackAny(DataSchema, message!);
      assert.ok(data.byteLength <= limits.streamMessageBytes);
      received += data.byteLength;
      assert.ok(received <= granted, `${received} bytes came for ${granted} granted`);
    }
    await far.send(packAny(WindowUpdateSchema, { update: limits.streamWindowBytes }));
    await sending;
  });
  void it('end only when the receiver has taken the last byte, whatever the length', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.integer({ min: 1, max: 300_000 }),
          fc.constantFrom(1, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 131_072, 196_608),
        ),
        async (sizeBytes) => {
          const [near, far] = pair();
          let takenBytes = 0;
          const receiving = (async () => {
            for await (const { byteLength } of receiveBytes(far, { signal })) {
              // A turn of the loop is time enough for a sender that does not wait.
              await new Promise(setImmediate);
              takenBytes += byteLength;
            }
          })();
          await sendBytes(near, chunksOf(new Uint8Array(sizeBytes), [50_000]), { signal });
          assert.equal(takenBytes, sizeBytes);
          await receiving;
        },
      ),
    );
  });
  void it('are given up with the call, by the receiver and by the sender', async () => {
    const given = new AbortController();
    const [near, far] = pair();
    const both = [
      collect(receiveBytes(far, given)),
      sendBytes(pair()[0], chunksOf(new Uint8Array(10), [10]), given),
    ];
    given.abort();
    for (const work of both) await assert.rejects(work, (error) => hasCode(error, 'Canceled'));
    await near.close();
  });
  void it('a receiver refuses what it did not grant', async () => {
    const [near, far] = pair();
    await near.send(packAny(DataSchema, { data: new Uint8Array(limits.streamWindowBytes + 1) }));
    await assert.rejects(collect(receiveBytes(far, { signal })), (error) =>
      hasCode(error, 'InvalidArgument'),
    );
  });
  void it('a receiver that leaves ends the sender', async () => {
    const [near, far] = pair();
    await far.close();
    await assert.rejects(sendBytes(near, chunksOf(new Uint8Array(10), [10]), { signal }), (error) =>
      hasCode(error, 'Unavailable'),
    );
  });
});
