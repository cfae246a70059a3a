/** What tests assert about promises of ours: they fail with a ContainerdError of one code. */
import assert from 'node:assert/strict';
import { ContainerdError, type ErrorCode, hasCode } from '../base/errors.ts';

/** Resolves when `work` fails with `code`, and with a message that `message` matches. */
export const rejectsWith = (work: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> =>
  assert.rejects(work, (error) => {
    assert.ok(hasCode(error, code), `expected ${code}, got ${String(error)}`);
    if (message !== undefined) assert.match(ContainerdError.from(error).message, message);
    return true;
  });
