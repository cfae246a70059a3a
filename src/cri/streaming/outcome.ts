/**
 * How a command or an attachment ended, as the error channel tells it: metav1.Status in JSON from protocol version 4
 * on, before that nothing for a success and the plain message for a failure.
 */
import { ContainerdError } from '../../base/errors.ts';
import type { CommandRequest } from './streaming-runtime.ts';

/** The part of metav1.Status that is used. */
export interface RemoteStatus {
  readonly metadata: Readonly<Record<string, never>>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: 'NonZeroExitCode' | 'InternalError';
  readonly details?: {
    readonly causes: readonly { readonly reason?: 'ExitCode'; readonly message: string }[];
  };
  readonly code?: number;
}

const success: RemoteStatus = { metadata: {}, status: 'Success' };

/** clients read the exit code out of the cause. */
export const exited = ({ cmd }: Pick<CommandRequest, 'cmd'>, exitCode: number): RemoteStatus =>
  exitCode === 0
    ? success
    : {
        metadata: {},
        status: 'Failure',
        message: `command terminated with non-zero exit code: error executing command [${cmd.join(' ')}], exit code ${exitCode}`,
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
      };

export const detached = (): RemoteStatus => success;

/** `doing` as in "error executing command in container". */
export function failed(doing: string, thrown: unknown): RemoteStatus {
  const message = `${doing}: ${ContainerdError.from(thrown).message}`;
  return {
    metadata: {},
    status: 'Failure',
    message: `Internal error occurred: ${message}`,
    reason: 'InternalError',
    details: { causes: [{ message }] },
    code: 500,
  };
}

/** What goes into the error channel; nothing at all when it is empty. */
export const encodeStatus = (status: RemoteStatus, { structured }: { structured: boolean }): Buffer =>
  Buffer.from(structured ? JSON.stringify(status) : (status.message ?? ''));
