/**
 * The one place where error codes meet wire statuses (gRPC and ttrpc share google.rpc.Status and its numbers).
 *
 * containerd's clients read the class of an error from the number, and, for the classes that share FailedPrecondition,
 * from the end of the message. So a message leaves with its class text behind a colon, once, and a client takes it off
 * again. Unknown has no class text: that is an error of no class. Details of a status that came from elsewhere (a
 * shim, a registry) travel on: they are found as the `cause` of an error.
 *
 * Source: google.rpc.Code; containerd's errdefs.
 */
import { create, isMessage } from '@bufbuild/protobuf';
import { ContainerdError, codedError, type ErrorCode } from '../base/errors.ts';
import { type Status, StatusSchema } from './gen/google/rpc/status_pb.js';

interface CodeOnWire {
  readonly number: number;
  /** What containerd's clients expect at the end of the message; "" for none. */
  readonly classText: string;
}

const codes: Readonly<Record<ErrorCode, CodeOnWire>> = {
  Canceled: { number: 1, classText: 'context canceled' },
  Unknown: { number: 2, classText: '' },
  InvalidArgument: { number: 3, classText: 'invalid argument' },
  DeadlineExceeded: { number: 4, classText: 'context deadline exceeded' },
  NotFound: { number: 5, classText: 'not found' },
  AlreadyExists: { number: 6, classText: 'already exists' },
  PermissionDenied: { number: 7, classText: 'permission denied' },
  ResourceExhausted: { number: 8, classText: 'resource exhausted' },
  FailedPrecondition: { number: 9, classText: 'failed precondition' },
  Conflict: { number: 9, classText: 'conflict' },
  NotModified: { number: 9, classText: 'not modified' },
  Aborted: { number: 10, classText: 'aborted' },
  OutOfRange: { number: 11, classText: 'out of range' },
  Unimplemented: { number: 12, classText: 'not implemented' },
  Internal: { number: 13, classText: 'internal' },
  Unavailable: { number: 14, classText: 'unavailable' },
  DataLoss: { number: 15, classText: 'data loss' },
  Unauthenticated: { number: 16, classText: 'unauthorized' },
};

const codeNames = Object.keys(codes) as ErrorCode[];

const endsWithClass = (message: string, classText: string): boolean =>
  message === classText || message.endsWith(`: ${classText}`);

/** A cause chain longer than this is a loop or nobody's business. */
const causeDepth = 16;

function detailsOf(error: ContainerdError): Status['details'] {
  let cause: unknown = error.cause;
  for (let depth = 0; depth < causeDepth && cause !== undefined; depth += 1) {
    if (isMessage(cause, StatusSchema)) return cause.details;
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return [];
}

/** What goes out for anything thrown: code number, message with its class text, details that came with a cause. */
export function statusOf(thrown: unknown): Status {
  const error = ContainerdError.from(thrown);
  const { number, classText } = codes[error.code];
  const bare = error.message.toWellFormed();
  const withClass = bare === '' ? classText : `${bare}: ${classText}`;
  // "task x not found" says it already; containerd does not say it twice.
  const message = classText === '' || bare === classText || bare.endsWith(` ${classText}`) ? bare : withClass;
  return create(StatusSchema, { code: number, message, details: detailsOf(error) });
}

function codeOf(number: number, message: string): ErrorCode {
  if (number === codes.FailedPrecondition.number) {
    if (endsWithClass(message, codes.Conflict.classText)) return 'Conflict';
    if (endsWithClass(message, codes.NotModified.classText)) return 'NotModified';
  }
  return codeNames.find((name) => codes[name].number === number) ?? 'Unknown';
}

/** The error of a status that came in; undefined for OK. Its cause is the status when that has details. */
export function errorOf(
  status: Pick<Status, 'code' | 'message'> & Partial<Pick<Status, 'details'>>,
): ContainerdError | undefined {
  if (status.code === 0) return undefined;
  const code = codeOf(status.code, status.message);
  const { classText } = codes[code];
  const suffix = `: ${classText}`;
  const message =
    classText !== '' && status.message.endsWith(suffix)
      ? status.message.slice(0, -suffix.length)
      : status.message;
  const details = status.details ?? [];
  if (details.length === 0) return codedError(code, message);
  const { code: number } = status;
  return codedError(code, message, create(StatusSchema, { code: number, message: status.message, details }));
}
