/**
 * The one table from errno to an error class, and the two ways into it: a failed call of ours, and an error thrown
 * by Node's own `fs`. Nothing else in the house reads errno names to choose a code.
 *
 * The `cause` of what comes out has the fields of Node's system errors (code, errno, syscall, path), whichever way
 * it came in, so that `errnoName` answers for both.
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { ContainerdError, codedError, type ErrorCode } from '../base/errors.ts';

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'NotFound',
  ESRCH: 'NotFound',
  ENODATA: 'NotFound',
  ENODEV: 'NotFound',
  EEXIST: 'AlreadyExists',
  EADDRINUSE: 'AlreadyExists',
  EACCES: 'PermissionDenied',
  EPERM: 'PermissionDenied',
  EROFS: 'PermissionDenied',
  ENOSPC: 'ResourceExhausted',
  EDQUOT: 'ResourceExhausted',
  EMFILE: 'ResourceExhausted',
  ENFILE: 'ResourceExhausted',
  ENOMEM: 'ResourceExhausted',
  EINVAL: 'InvalidArgument',
  ENAMETOOLONG: 'InvalidArgument',
  ELOOP: 'InvalidArgument',
  E2BIG: 'InvalidArgument',
  ENOEXEC: 'InvalidArgument',
  ENOSYS: 'Unimplemented',
  EOPNOTSUPP: 'Unimplemented',
  ENOTSUP: 'Unimplemented',
  EBUSY: 'FailedPrecondition',
  ENOTEMPTY: 'FailedPrecondition',
  ENOTDIR: 'FailedPrecondition',
  EISDIR: 'FailedPrecondition',
  ETXTBSY: 'FailedPrecondition',
  EXDEV: 'FailedPrecondition',
  EMLINK: 'FailedPrecondition',
  ERANGE: 'OutOfRange',
  EFBIG: 'OutOfRange',
  EOVERFLOW: 'OutOfRange',
  ETIMEDOUT: 'DeadlineExceeded',
  ECANCELED: 'Canceled',
  EAGAIN: 'Unavailable',
  ECONNREFUSED: 'Unavailable',
  ECONNRESET: 'Unavailable',
  ENXIO: 'Unavailable',
  EPIPE: 'Unavailable',
  EUCLEAN: 'DataLoss',
  EIO: 'DataLoss',
};

const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) if (!names.has(number)) names.set(number, name);
const messages = getSystemErrorMap();

/** Code of an errno name; Unknown for those that mean nothing to a caller. */
export const codeOfErrno = (name: string): ErrorCode => codes[name] ?? 'Unknown';

/**
 * A failed system call as an error: "call path: what is wrong". `errno` is the positive number that libc left,
 * `path` whatever the call was about (empty when there is nothing to name).
 */
export function fromErrno(call: string, path: string, errno: number): ContainerdError {
  const name = names.get(errno) ?? `errno ${errno}`;
  const text = messages.get(-errno)?.[1] ?? name;
  const about = path === '' ? call : `${call} ${path}`;
  const cause = Object.assign(new Error(`${name}: ${text}, ${about}`), {
    code: name,
    errno: -errno,
    syscall: call,
    path,
  });
  return codedError(codeOfErrno(name), `${about}: ${text}`, cause);
}

interface NodeSystemError extends Error {
  readonly code: string;
  readonly errno?: number;
  readonly syscall?: string;
  readonly path?: string;
}

const isSystemError = (thrown: unknown): thrown is NodeSystemError =>
  thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string';

/** What Node's `fs` or `net` threw, in the same words; everything else as `ContainerdError.from` has it. */
export function fromNodeError(thrown: unknown): ContainerdError {
  if (thrown instanceof ContainerdError) return thrown;
  if (!isSystemError(thrown) || !(thrown.code in constants.errno)) return ContainerdError.from(thrown);
  const text = (thrown.errno === undefined ? undefined : messages.get(thrown.errno)?.[1]) ?? thrown.code;
  const about = [thrown.syscall, thrown.path].filter((part) => part !== undefined).join(' ');
  return codedError(codeOfErrno(thrown.code), about === '' ? text : `${about}: ${text}`, thrown);
}

/** The errno name behind an error of this layer or of Node, or undefined. */
export function errnoName(thrown: unknown): string | undefined {
  const system = thrown instanceof ContainerdError ? thrown.cause : thrown;
  return isSystemError(system) ? system.code : undefined;
}

/** Whether an error of this layer or of Node has one of these errno names: `isErrno(error, 'ENOENT', 'ENOTDIR')`. */
export const isErrno = (thrown: unknown, ...wanted: readonly string[]): boolean =>
  wanted.includes(errnoName(thrown) ?? '');

/** Runs a call of Node's `fs` and turns what it throws. */
export function withNodeErrors<Result>(call: () => Result): Result {
  try {
    return call();
  } catch (error) {
    throw fromNodeError(error);
  }
}
