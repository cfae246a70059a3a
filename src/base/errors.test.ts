import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerdError, hasCode, notFound, unavailable, wrap } from './errors.ts';

test('a failed clean-up does not hide what led to it', async () => {
  const fails = async (): Promise<void> => {
    await using undo = new AsyncDisposableStack();
    undo.defer(() => Promise.reject(unavailable('the daemon has gone')));
    undo.defer(() => Promise.reject(unavailable('the daemon has gone')));
    throw notFound('image', 'alpine');
  };
  await assert.rejects(fails, (thrown) => {
    assert.ok(hasCode(thrown, 'NotFound'));
    const error = wrap('run', thrown);
    assert.equal(error.code, 'NotFound');
    assert.equal(error.message, 'run: image "alpine"');
    return true;
  });
});

test('what is thrown becomes an error with a code', () => {
  const codeOf = (thrown: unknown): string => ContainerdError.from(thrown).code;
  assert.equal(codeOf(AbortSignal.abort().reason), 'Canceled');
  assert.equal(codeOf(new DOMException('late', 'TimeoutError')), 'DeadlineExceeded');
  assert.equal(codeOf(new Error('odd')), 'Unknown');
  assert.equal(codeOf('odd'), 'Unknown');
  assert.equal(codeOf(notFound('image', 'alpine')), 'NotFound');
});
