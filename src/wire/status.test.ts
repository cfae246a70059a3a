import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { ContainerdError, notFound, wrap } from '../base/errors.ts';
import { errorOf, statusOf } from './status.ts';

describe('statuses', () => {
  // What containerd's clients compare: number and end of the message.
  for (const [thrown, code, message] of [
    [notFound('image', 'x'), 5, 'image "x": not found'],
    [new ContainerdError('NotFound', 'image "x": not found'), 5, 'image "x": not found'],
    [new ContainerdError('NotFound', ''), 5, 'not found'],
    [new ContainerdError('Conflict', 'in use'), 9, 'in use: conflict'],
    [new ContainerdError('NotModified', 'same'), 9, 'same: not modified'],
    [new ContainerdError('FailedPrecondition', 'no'), 9, 'no: failed precondition'],
    [new ContainerdError('Unauthenticated', 'who?'), 16, 'who?: unauthorized'],
    [new ContainerdError('Unimplemented', 'that'), 12, 'that: not implemented'],
    [new Error('boom'), 2, 'boom'],
    [new DOMException('', 'AbortError'), 1, 'context canceled'],
    [new DOMException('', 'TimeoutError'), 4, 'context deadline exceeded'],
    ['text', 2, 'text'],
  ] as const)
    it(`sends ${String(thrown)} as ${code} ${message}`, () => {
      const status = statusOf(thrown);
      assert.equal(status.code, code);
      assert.equal(status.message, message);
    });

  it('reads numbers that no class has as Unknown, and 0 as no error', () => {
    assert.equal(errorOf({ code: 99, message: 'x' })?.code, 'Unknown');
    assert.equal(errorOf({ code: 0, message: '' }), undefined);
  });

  it('passes the details of another server on', () => {
    const detail = create(AnySchema, { typeUrl: 'some.Detail', value: Uint8Array.of(1, 2) });
    const error = errorOf({ code: 5, message: 'a: not found', details: [detail] });
    const status = statusOf(wrap('get a', error));
    assert.equal(status.message, 'get a: a: not found');
    assert.deepEqual(status.details, [detail]);
  });

  it('sends text that is not well-formed as text that is', () => {
    assert.equal(statusOf(new Error('a\ud800b')).message, 'a\ufffdb');
  });
});
