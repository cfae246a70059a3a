/**
 * Network namespaces of pods: where they are, made and taken away. The path follows from the pod's id, so whoever has
 * recorded the id can take away what a crash left, whatever else is in the directory (ip-netns(8) keeps its own there).
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { SandboxId } from '../../base/identifiers.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { IdRange, NamespaceOperations } from '../../platform/platform.ts';

export interface PodNamespacesOptions {
  /** Of network namespaces: `/run/netns`, or one below the state directory. Made when absent. */
  readonly networkDir: string;
  /** Of user namespaces; ours alone. Made when absent. */
  readonly userDir: string;
}

export interface PodUserNamespace {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

export class PodNamespaces {
  readonly #namespaces: NamespaceOperations;
  readonly #networkDir: string;
  readonly #userDir: string;

  constructor(
    { namespaces }: { readonly namespaces: NamespaceOperations },
    { networkDir, userDir }: PodNamespacesOptions,
  ) {
    this.#namespaces = namespaces;
    this.#networkDir = networkDir;
    this.#userDir = userDir;
  }

  networkPath(pod: SandboxId): string {
    return join(this.#networkDir, `cni-${pod}`);
  }

  userPath(pod: SandboxId): string {
    return join(this.#userDir, pod);
  }

  /**
   * With `user`, the network belongs to a new user namespace, which is at `userPath`. On failure nothing is left.
   * Errors: AlreadyExists, and what the platform says.
   */
  make(pod: SandboxId, { user }: { readonly user?: PodUserNamespace } = {}): void {
    withNodeErrors(() => {
      mkdirSync(this.#networkDir, { recursive: true, mode: 0o755 });
      if (user !== undefined) mkdirSync(this.#userDir, { recursive: true, mode: 0o700 });
    });
    this.#namespaces.makeNetwork(
      this.networkPath(pod),
      user === undefined ? {} : { user: { ...user, path: this.userPath(pod) } },
    );
  }

  /** Whether the network namespace is there. */
  isOpen(pod: SandboxId): boolean {
    return this.#namespaces.isPinned(this.networkPath(pod));
  }

  /** Of both kinds. Not an error when there is none. */
  remove(pod: SandboxId): void {
    this.#namespaces.unpin(this.networkPath(pod));
    this.#namespaces.unpin(this.userPath(pod));
  }
}
