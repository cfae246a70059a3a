/** What every protocol must do with unary calls: their answers, contexts, errors and sizes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { requireNamespace } from '../base/context.ts';
import { type ErrorCode, hasCode } from '../base/errors.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { bytes, Echo, text } from './echo-service.fixture.ts';
import { type ProtocolUnderTest, TransportLab } from './transport.fixture.ts';

export function transportCallsSuite(protocol: ProtocolUnderTest): void {
  describe('calls', () => {
    let lab: TransportLab;

    before(async () => {
      lab = await TransportLab.start(protocol);
    });
    after(() => lab[Symbol.asyncDispose]());

    it('answers unary calls, many at once, each with its own', async () => {
      const many = Array.from({ length: 200 }, (_, index) => `word ${index}`);
      const answers = await Promise.all(many.map((word) => lab.echo.echo(bytes(word))));
      assert.deepEqual(
        answers.map((answer) => text(answer.value)),
        many,
      );
    });

    it('carries namespace and lease; a bad namespace is told to calls that need one', async () => {
      await lab.echo.echo(bytes('x'), { namespace: 'moby', lease: 'l1' });
      assert.equal(lab.seen.ctx?.namespace, 'moby');
      assert.equal(lab.seen.ctx?.lease, 'l1');
      await lab.echo.echo(bytes('x'));
      assert.equal(lab.seen.ctx?.namespace, undefined);
      await lab.echo.echo(bytes('x'), { namespace: '../etc' });
      const { ctx } = lab.seen;
      assert(ctx !== undefined && ctx.namespace === undefined);
      assert.throws(
        () => requireNamespace(ctx),
        (error) => hasCode(error, 'InvalidArgument') && /must match/.test(String(error)),
      );
    });

    it('carries every error class there and back, without doubling its text', async () => {
      const classes: ErrorCode[] = [
        'Unknown',
        'InvalidArgument',
        'NotFound',
        'AlreadyExists',
        'PermissionDenied',
        'ResourceExhausted',
        'FailedPrecondition',
        'Conflict',
        'NotModified',
        'Aborted',
        'OutOfRange',
        'Unimplemented',
        'Internal',
        'Unavailable',
        'DataLoss',
        'Unauthenticated',
        'DeadlineExceeded',
        'Canceled',
      ];
      for (const code of classes)
        await rejectsWith(lab.echo.echo(bytes(`fail ${code}`)), code, /^thing "x"$/);
      await rejectsWith(lab.echo.echo(bytes('crash')), 'Unknown', /^boom$/);
    });

    it('answers Unimplemented for a method that is left out', () =>
      rejectsWith(lab.echo.missing({}), 'Unimplemented'));

    it('refuses a message that is too large with ResourceExhausted, and goes on', async () => {
      const large = { value: Buffer.alloc(protocol.maxMessageBytes + 1024 * 1024) };
      await rejectsWith(lab.echo.echo(large), 'ResourceExhausted');
      const fits = { value: Buffer.alloc(protocol.maxMessageBytes - 1024, 7) };
      assert.equal((await lab.echo.echo(fits)).value.byteLength, fits.value.byteLength);
    });

    it('fails calls when nobody listens', async () => {
      await rejectsWith(
        (async () => {
          const other = await protocol.connect(join(lab.dir, 'nobody'));
          await using _ = other;
          await other.client(Echo).echo({});
        })(),
        'Unavailable',
      );
    });
  });
}
