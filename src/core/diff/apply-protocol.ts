/** What the main thread and an apply worker say to each other. Plain data: it crosses by structured clone. */
import type { MessagePort } from 'node:worker_threads';
import type { Digest } from '../../base/digest.ts';
import type { ErrorCode } from '../../base/errors.ts';
import type { LogFields } from '../../base/logger.ts';
import type { Compression } from './layer-media-type.ts';
import type { LowerNode } from './lower-tree.ts';
import type { WhiteoutStyle } from './whiteouts.ts';

/** Where a worker gets the layer from: a ring (chunk-ring.ts) or a file that may grow (layer-feed.ts). */
export type ApplyInput =
  | { readonly kind: 'ring'; readonly memory: SharedArrayBuffer }
  | { readonly kind: 'feed'; readonly fd: number; readonly memory: SharedArrayBuffer };

/** The one job of a worker. */
export interface ApplyJob {
  readonly root: string;
  /** Confine the thread to `root` for the rest of its life. */
  readonly isConfined: boolean;
  readonly whiteouts: WhiteoutStyle;
  /** Lower layers can be asked about. */
  readonly hasLowers: boolean;
  readonly input: ApplyInput;
  /** What is to be inflated; absent: the first bytes decide. */
  readonly compression?: Compression;
  /** Hash of the input as it comes, if wanted. */
  readonly inputAlgorithm?: string;
  /** Answers to `LowerRequest`s; `answered` counts them for a worker that blocks. */
  readonly answers: MessagePort;
  readonly answered: SharedArrayBuffer;
}

export interface AppliedLayer {
  /** Digest of the uncompressed tar. */
  readonly diffId: Digest;
  readonly sizeBytes: number;
  /** The layer says what its root is like. */
  readonly hasRoot: boolean;
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
  | { readonly kind: 'progress'; readonly sizeBytes: number }
  | ({ readonly kind: 'done'; readonly inputHash: string } & AppliedLayer)
  | { readonly kind: 'failed'; readonly error: PlainError }
  | { readonly kind: 'warning'; readonly fields: LogFields; readonly message: string };
