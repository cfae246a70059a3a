/** What every protocol must do with streams of all kinds: their order, their failures, and that the slower side sets the pace. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { notFound } from '../base/errors.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { until } from '../testing/until.ts';
import { bytes, collect, Echo, text, words } from './echo-service.fixture.ts';
import { type ProtocolUnderTest, TransportLab } from './transport.fixture.ts';

export function transportStreamsSuite(protocol: ProtocolUnderTest): void {
  describe('streams', () => {
    let lab: TransportLab;

    before(async () => {
      lab = await TransportLab.start(protocol);
    });
    after(() => lab[Symbol.asyncDispose]());

    it('streams from the server, and the error that ends a stream', async () => {
      assert.equal((await collect(lab.echo.count(bytes('1000')))).length, 1000);
      assert.equal((await collect(lab.echo.count(bytes('0')))).length, 0);
      const got: unknown[] = [];
      await rejectsWith(
        (async () => {
          for await (const message of lab.echo.count(bytes('3'))) got.push(message);
        })(),
        'NotFound',
        /^thing "fourth"$/,
      );
      assert.equal(got.length, 3);
    });

    it('streams from the client, and stops when the server has enough', async () => {
      assert.equal(text((await lab.echo.join(words('a', 'b', 'c'))).value), 'a,b,c');
      assert.equal(text((await lab.echo.join(words())).value), '');
      let sent = 0;
      let stopped = false;
      const endless = (async function* () {
        try {
          for (;;) {
            sent += 1;
            yield bytes(sent === 3 ? 'enough' : 'more');
            await turn();
          }
        } finally {
          stopped = true;
        }
      })();
      assert.equal(text((await lab.echo.join(endless)).value), 'more,more,enough');
      await until('the source is told to stop', () => stopped);
    });

    it('streams both ways, in step', async () => {
      const said: string[] = [];
      const { promise: first, resolve } = Promise.withResolvers<void>();
      const talk = (async function* () {
        yield bytes('one');
        await first;
        yield bytes('two');
      })();
      for await (const { value } of lab.echo.chat(talk)) {
        said.push(text(value));
        resolve();
      }
      assert.deepEqual(said, ['re: one', 're: two']);
      assert.deepEqual(await collect(lab.echo.chat(words('a', 'bye', 'never'))), ['re: a']);
    });

    it('hands the failure of a request source to the caller', async () => {
      const { promise: answered, resolve } = Promise.withResolvers<void>();
      const broken = (async function* () {
        yield bytes('a');
        await answered;
        throw notFound('file', 'b');
      })();
      const other = await lab.connect();
      const talk = (async () => {
        for await (const _ of other.client(Echo).chat(broken)) resolve();
      })();
      await rejectsWith(talk, 'NotFound', /file "b"/);
      // ttrpc cannot cancel a stream: it ends with its connection.
      await other[Symbol.asyncDispose]();
      await until('the handler is told', () => lab.seen.returned);
    });

    it('holds a fast producer back while the consumer sleeps', async () => {
      const other = await lab.connect();
      const stream = other.client(Echo).count(bytes('big'))[Symbol.asyncIterator]();
      await stream.next();
      let last = -1;
      // It has stopped when turns pass without one more message.
      for (let quiet = 0; quiet < 200; quiet += 1) {
        if (lab.seen.produced !== last) quiet = 0;
        last = lab.seen.produced;
        await turn();
      }
      assert(lab.seen.produced < 90, `${lab.seen.produced} chunks of 1 MiB were produced`);
      for (let index = 0; index < 100; index += 1) await stream.next();
      assert(lab.seen.produced > 100);
      await stream.return?.();
      await other[Symbol.asyncDispose]();
      await until('the producer is told to return', () => lab.seen.returned);
    });

    it('holds a fast client back while the handler sleeps', async () => {
      const other = await lab.connect();
      let sent = 0;
      const flood = (async function* () {
        yield bytes('hold');
        for (;;) {
          sent += 1;
          yield { value: Buffer.alloc(1024 * 1024) };
        }
      })();
      const controller = new AbortController();
      const chat = collect(other.client(Echo).chat(flood, { signal: controller.signal }));
      let last = -1;
      for (let quiet = 0; quiet < 200; quiet += 1) {
        if (sent !== last) quiet = 0;
        last = sent;
        await turn();
      }
      assert(sent < 90, `${sent} MiB were sent`);
      controller.abort();
      await rejectsWith(chat, 'Canceled');
      await other[Symbol.asyncDispose]();
      await until('the handler is told', () => lab.seen.returned);
    });

    it('takes thousands of streams that the client leaves early', async () => {
      for (let round = 0; round < 30; round += 1)
        await Promise.all(
          Array.from({ length: 100 }, async () => {
            const iterator = lab.echo.count(bytes('20'))[Symbol.asyncIterator]();
            await iterator.next();
            await iterator.return?.();
          }),
        );
      assert.equal(text((await lab.echo.echo(bytes('still there'))).value), 'still there');
    });
  });
}
