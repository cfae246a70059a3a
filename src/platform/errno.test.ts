import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { test } from 'node:test';
import { ContainerdError } from '../base/errors.ts';
import { codeOfErrno, errnoName, fromErrno, fromNodeError, isErrno, withNodeErrors } from './errno.ts';

test('a failed call names the call, the path and the reason, and keeps the errno', () => {
  const error = fromErrno('mount overlay', '/target', constants.errno.EBUSY);
  assert.equal(error.code, 'FailedPrecondition');
  assert.equal(error.message, 'mount overlay /target: resource busy or locked');
  assert.equal(errnoName(error), 'EBUSY');
  assert.equal(fromErrno('getpid', '', constants.errno.ENOSYS).code, 'Unimplemented');
});

test('an errno that nobody knows is Unknown and still told', () => {
  const error = fromErrno('call', 'path', 4000);
  assert.equal(error.code, 'Unknown');
  assert.match(error.message, /4000/);
});

test("Node's errors come out in the same words", () => {
  assert.throws(
    () => withNodeErrors(() => readFileSync('/no/such/file')),
    (error) =>
      error instanceof ContainerdError &&
      error.code === 'NotFound' &&
      error.message === 'open /no/such/file: no such file or directory' &&
      isErrno(error, 'ENOENT'),
  );
  assert.equal(fromNodeError(new TypeError('oops')).code, 'Unknown');
  const own = fromErrno('open', '/x', constants.errno.EACCES);
  assert.equal(fromNodeError(own), own);
  assert.equal(errnoName(new Error('plain')), undefined);
});

test('the table answers with the classes that clients branch on', () => {
  const expected = {
    ENOENT: 'NotFound',
    EEXIST: 'AlreadyExists',
    EACCES: 'PermissionDenied',
    EPERM: 'PermissionDenied',
    ENOSPC: 'ResourceExhausted',
    EDQUOT: 'ResourceExhausted',
    EMFILE: 'ResourceExhausted',
    EINVAL: 'InvalidArgument',
    EOPNOTSUPP: 'Unimplemented',
    ENOTEMPTY: 'FailedPrecondition',
    ETIMEDOUT: 'DeadlineExceeded',
    EMULTIHOP: 'Unknown',
  };
  for (const [name, code] of Object.entries(expected)) assert.equal(codeOfErrno(name), code, name);
});
