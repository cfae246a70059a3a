/**
 * The one error class of Gantry and the words that make it.
 *
 * Every failure that a caller is meant to tell apart is a `ContainerdError` with a code of containerd's error
 * classes. Messages are written for people and carry no class suffix: the wire adds ": not found" and the like
 * (see wire/status.ts), because only clients of the wire need it. Programmer errors are assertions, not these.
 */

/** Error classes of containerd (errdefs). Conflict and NotModified travel as FailedPrecondition. */
export type ErrorCode =
  | 'Unknown'
  | 'InvalidArgument'
  | 'NotFound'
  | 'AlreadyExists'
  | 'PermissionDenied'
  | 'ResourceExhausted'
  | 'FailedPrecondition'
  | 'Conflict'
  | 'NotModified'
  | 'Aborted'
  | 'OutOfRange'
  | 'Unimplemented'
  | 'Internal'
  | 'Unavailable'
  | 'DataLoss'
  | 'Unauthenticated'
  | 'DeadlineExceeded'
  | 'Canceled';

export class ContainerdError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'ContainerdError';
    this.code = code;
  }

  /**
   * Anything thrown, as a ContainerdError: itself, Canceled/DeadlineExceeded for aborts, Unknown for the rest. When
   * clean-up failed too, the failure that led to it counts.
   */
  static from(thrown: unknown): ContainerdError {
    if (thrown instanceof SuppressedError) return ContainerdError.from(thrown.suppressed);
    if (thrown instanceof ContainerdError) return thrown;
    if (thrown instanceof Error) {
      if (thrown.name === 'AbortError')
        return new ContainerdError('Canceled', 'context canceled', { cause: thrown });
      if (thrown.name === 'TimeoutError')
        return new ContainerdError('DeadlineExceeded', 'context deadline exceeded', { cause: thrown });
      return new ContainerdError('Unknown', thrown.message, { cause: thrown });
    }
    return new ContainerdError('Unknown', String(thrown), { cause: thrown });
  }
}

const quote = (name: string): string => JSON.stringify(name);

export const notFound = (kind: string, name: string): ContainerdError =>
  new ContainerdError('NotFound', `${kind} ${quote(name)}`);

export const alreadyExists = (kind: string, name: string): ContainerdError =>
  new ContainerdError('AlreadyExists', `${kind} ${quote(name)}`);

export const invalidArgument = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('InvalidArgument', message, { cause });

export const failedPrecondition = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('FailedPrecondition', message, { cause });

export const outOfRange = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('OutOfRange', message, { cause });

export const unimplemented = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Unimplemented', message, { cause });

export const unavailable = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Unavailable', message, { cause });

export const permissionDenied = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('PermissionDenied', message, { cause });

export const resourceExhausted = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('ResourceExhausted', message, { cause });

export const dataLoss = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('DataLoss', message, { cause });

export const internal = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Internal', message, { cause });

export const aborted = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Aborted', message, { cause });

export const canceled = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Canceled', message, { cause });

export const deadlineExceeded = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('DeadlineExceeded', message, { cause });

export const unauthenticated = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Unauthenticated', message, { cause });

/** Where clients know containerd by this class; ours say more than that they do not know. */
export const unknown = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('Unknown', message, { cause });

/** NotFound in words of its own, where `notFound(kind, name)` would not be containerd's. */
export const absent = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('NotFound', message, { cause });

/** AlreadyExists in words of its own, where `alreadyExists(kind, name)` would not be containerd's. */
export const taken = (message: string, cause?: unknown): ContainerdError =>
  new ContainerdError('AlreadyExists', message, { cause });

/** For tables that make a code: of an errno, of a status of the wire, of what another process told. */
export const codedError = (code: ErrorCode, message: string, cause?: unknown): ContainerdError =>
  new ContainerdError(code, message, { cause });

/** Puts what was being done in front of an error and keeps its code: `wrap('pull alpine', err)`. */
export function wrap(doing: string, thrown: unknown): ContainerdError {
  const error = ContainerdError.from(thrown);
  return new ContainerdError(error.code, `${doing}: ${error.message}`, { cause: thrown });
}

export const hasCode = (thrown: unknown, code: ErrorCode): boolean =>
  thrown instanceof SuppressedError
    ? hasCode(thrown.suppressed, code)
    : thrown instanceof ContainerdError && thrown.code === code;
