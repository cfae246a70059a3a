/**
 * What a check finds.
 *
 * Damage: something is lost, or a call on it would fail. Leftover: it only takes space, and nobody but a repair will
 * remove it. Notice: the daemon puts it right by itself (the collector, the next start), and it is only told.
 */
import type { Context } from '../../base/context.ts';

export type Severity = 'damage' | 'leftover' | 'notice';

export type FindingKind =
  | 'database-corrupt'
  | 'content-missing'
  | 'content-size'
  | 'content-corrupt'
  | 'content-orphan'
  | 'content-stray'
  | 'ingest-missing'
  | 'ingest-orphan'
  | 'snapshot-missing'
  | 'snapshot-parent'
  | 'snapshot-directory-missing'
  | 'snapshot-orphan'
  | 'snapshot-directory-orphan'
  | 'snapshotter-unavailable'
  | 'image-broken'
  | 'container-broken'
  | 'lease-dangling'
  | 'bundle-orphan'
  | 'mount-dangling';

export interface Finding {
  readonly kind: FindingKind;
  readonly severity: Severity;
  /** Empty when it concerns all of them. */
  readonly namespace: string;
  /** The thing: a digest, a snapshot, an image. */
  readonly what: string;
  /** A path, or the table of the database. */
  readonly where: string;
  readonly problem: string;
  /** `image NAME`, `container ID`, … with their namespaces. */
  readonly breaks: readonly string[];
  /** What a repair does about it, or what a person can. */
  readonly remedy: string;
}

export type Outcome = 'found' | 'repaired' | 'left';

export interface ReportedFinding extends Finding {
  readonly outcome: Outcome;
  /** What the repair did, or why it could not. */
  readonly detail: string;
}

/** A finding together with its repair, where there is one. */
export interface Problem {
  readonly finding: Finding;
  /** Resolves with what was done, for people. Errors: whatever kept it from being done; nothing is half done then. */
  readonly repair?: (ctx: Context) => Promise<string>;
  /** Of what the collector removes by itself: it has not yet. */
  readonly isThere?: (ctx: Context) => Promise<boolean>;
}
