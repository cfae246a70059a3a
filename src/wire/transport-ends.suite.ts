/** What every protocol must do with how calls end early: deadlines, callers that leave, clients that vanish, shutdown. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ContainerdError } from '../base/errors.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { descriptorsOf } from '../testing/held.ts';
import { until } from '../testing/until.ts';
import { bytes, Echo, echoService, text, words } from './echo-service.fixture.ts';
import { noCredentials, type ProtocolUnderTest, TransportLab } from './transport.fixture.ts';
import { UnixListener } from './unix-listener.ts';

export function transportEndsSuite(protocol: ProtocolUnderTest): void {
  describe('ends of calls', () => {
    let lab: TransportLab;

    before(async () => {
      lab = await TransportLab.start(protocol);
    });
    after(() => lab[Symbol.asyncDispose]());

    it('ends a call at its deadline, on both sides', async () => {
      await rejectsWith(lab.echo.echo(bytes('wait'), { timeoutMs: 50 }), 'DeadlineExceeded');
      await until('the handler is told', () => lab.seen.ctx?.signal.aborted === true);
      // Over gRPC the client's own cancel may come first.
      const { code } = ContainerdError.from(lab.seen.ctx?.signal.reason);
      assert(code === 'DeadlineExceeded' || code === 'Canceled', code);
      await until('nothing is in flight', () => lab.server.inFlight().length === 0);
    });

    it('gives a call up by the signal of the caller', async () => {
      const controller = new AbortController();
      const other = await lab.connect();
      const call = other.client(Echo).echo(bytes('wait'), { signal: controller.signal, timeoutMs: 5000 });
      await until('the call is in flight', () => lab.server.inFlight().length === 1);
      const [entry] = lab.server.inFlight();
      assert.equal(entry?.method, 'test.Echo/Echo');
      assert(entry.ageMs >= 0 && entry.ageMs < 5000);
      controller.abort();
      await rejectsWith(call, 'Canceled');
      await rejectsWith(lab.echo.echo(bytes('x'), { signal: controller.signal }), 'Canceled');
      await other[Symbol.asyncDispose]();
      await until('nothing is in flight', () => lab.server.inFlight().length === 0);
    });

    it('leaves nothing behind when a client vanishes in a stream', async () => {
      await until(
        'one is connected',
        () => lab.source.sockets.filter((socket) => !socket.destroyed).length === 1,
      );
      const openBefore = descriptorsOf().length;
      for (let round = 0; round < 3; round += 1) {
        const other = await lab.connect();
        const iterator = other.client(Echo).count(bytes('forever'))[Symbol.asyncIterator]();
        await iterator.next();
        const talk = other.client(Echo).chat(words('hold'))[Symbol.asyncIterator]();
        const held = talk.next();
        await until('both calls are in flight', () => lab.server.inFlight().length === 2);
        lab.source.sockets.at(-1)?.destroy();
        await rejectsWith(held, 'Unavailable');
        await assert.rejects(async () => {
          for (;;) if ((await iterator.next()).done === true) return;
        });
        await until('both calls have ended', () => lab.server.inFlight().length === 0);
        await other[Symbol.asyncDispose]();
      }
      await until('all descriptors are closed', () => descriptorsOf().length <= openBefore);
      assert.equal(text((await lab.echo.echo(bytes('still there'))).value), 'still there');
    });

    it('lets calls finish in a shutdown, and tells those that do not', async () => {
      const place = await UnixListener.listen({ sockets: noCredentials }, join(lab.dir, 'second'));
      const second = protocol.serve([echoService(lab.seen)], place);
      const other = await protocol.connect(place.path);
      const waiting = other.client(Echo).echo(bytes('wait'));
      const told = rejectsWith(waiting, 'Unavailable');
      await until('the call is in flight', () => second.inFlight().length === 1);
      await place.close();
      await second.shutdown(20);
      await told;
      await other.closed;
      await other[Symbol.asyncDispose]();
    });
  });
}
