/**
 * The contract of the mount manager: lists of mounts that the daemon puts in place for a client, under a name.
 *
 * Only what a plain mount(2) cannot do is its work: types with a handler (`loop`, `erofs`) and types with a transformer
 * before a slash (`format/`, `mkfs/`, `mkdir/`). Everything up to the last of those is mounted here; the rest, its
 * placeholders filled in, is given back for the caller to mount.
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';

export interface ActiveMount {
  /** As it was mounted, transformed. */
  readonly mount: Mount;
  readonly mountedAt: Instant;
  /** A directory, or a symlink to a loop device. */
  readonly mountPoint: string;
}

export interface Activation {
  readonly name: string;
  readonly active: readonly ActiveMount[];
  /** Left to the caller. */
  readonly system: readonly Mount[];
  readonly labels: Labels;
}

export interface ActivateRequest {
  /** Any text; never a path. */
  readonly name: string;
  readonly mounts: readonly Mount[];
  readonly labels: Labels;
  /** Mounts all of them, and gives one bind mount back. */
  readonly temporary: boolean;
}

/** What is neither leased nor kept by a label goes with the next collection. */
export interface MountManager {
  /**
   * Joins the lease of the call. Errors: Unimplemented when nothing in the list needs it (the caller mounts by itself),
   * AlreadyExists, InvalidArgument, NotFound (lease, sources), PermissionDenied (a path outside of the allowed roots).
   */
  activate(ctx: NamespacedContext, request: ActivateRequest): Promise<Activation>;
  /** The name is free even when it fails: the next collection unmounts. Errors: NotFound, FailedPrecondition (busy). */
  deactivate(ctx: NamespacedContext, name: string): Promise<void>;
  /** Errors: NotFound. */
  info(ctx: NamespacedContext, name: string): Promise<Activation>;
  /** Filters over name and labels. Errors: InvalidArgument. */
  list(ctx: NamespacedContext, filters: readonly string[]): AsyncIterable<Activation>;
}
