/** What the main thread and an apply worker say to each other. Plain data: it crosses by structured clone. */
import type { MessagePort } from 'node:worker_threads';
import type { Digest } from '../../base/digest.ts';
import type { ErrorCode } from '../../base/errors.ts';
import type { LogFields } from '../../base/logger.ts';
import type { LowerNode } from './lower-tree.ts';
import type { WhiteoutStyle } from './whiteouts.ts';

/** The one job of a worker. */
export interface ApplyJob {
  readonly root: string;
  /** Confine the thread to `root` for the rest of its life. */
  readonly isConfined: boolean;
  readonly whiteouts: WhiteoutStyle;
  /** Lower layers can be asked about. */
  readonly hasLowers: boolean;
  /** The uncompressed tar (chunk-ring.ts). */
  readonly ring: SharedArrayBuffer;
  /** Answers to `LowerRequest`s; `answered` counts them for a worker that blocks. */
  readonly answers: MessagePort;
  readonly answered: SharedArrayBuffer;
}

export interface AppliedLayer {
  /** Digest of the uncompressed tar. */
  readonly diffId: Digest;
  readonly sizeBytes: number;
}

export interface LowerRequest {
  readonly kind: 'lookup' | 'copy-up';
  readonly components: readonly string[];
}

export type LowerAnswer = { readonly node: LowerNode | undefined } | { readonly error: PlainError };

export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
}

/** First `ready`, then one job comes, or nothing for a worker that is not needed. */
export type WorkerReport =
  | { readonly kind: 'ready' }
  | LowerRequest
  | { readonly kind: 'done'; readonly diffId: Digest; readonly sizeBytes: number }
  | { readonly kind: 'failed'; readonly error: PlainError }
  | { readonly kind: 'warning'; readonly fields: LogFields; readonly message: string };
