/**
 * What a container leaves for a later shim: its state in the bundle, and the exit codes of its processes, pinned there.
 */
import { rmSync } from 'node:fs';
import type { Logger } from '../../base/logger.ts';
import type { SavedContainer } from '../../oci/shim-state.ts';
import type { Platform } from '../../platform/platform.ts';
import { StateFile } from '../bundle/state-file.ts';

export interface NotesDependencies {
  readonly platform: Pick<Platform, 'processes' | 'mounts'>;
  readonly log: Logger;
  /** The state as it is now. */
  readonly state: () => SavedContainer;
}

export class ContainerNotes {
  readonly #dependencies: NotesDependencies;
  readonly #file: StateFile;
  #isSaving = false;
  #isOver = false;

  constructor(dependencies: NotesDependencies, bundle: string) {
    this.#dependencies = dependencies;
    this.#file = new StateFile(bundle);
  }

  /** To be called before a step whose effect must be found again. Errors: the file system's. */
  save(): void {
    if (!this.#isOver) this.#file.save(this.#dependencies.state());
  }

  /** Where the step has been taken and cannot be undone. */
  trySave(): void {
    try {
      this.save();
    } catch (error) {
      this.#dependencies.log.warn({ error }, 'could not note the state of a container in its bundle');
    }
  }

  /** For what is no promise to anybody: once for all that happens in this turn. */
  saveSoon(): void {
    if (this.#isSaving) return;
    this.#isSaving = true;
    setImmediate(() => {
      this.#isSaving = false;
      this.trySave();
    });
  }

  /**
   * Holds the exit code of a process at `path`, where a later shim can read it. False where the kernel cannot, and when
   * the process has gone.
   */
  pin(pid: number, path: string): boolean {
    const { platform, log } = this.#dependencies;
    try {
      return platform.processes.pin(pid, path);
    } catch (error) {
      log.debug({ error, path }, 'an exit code cannot be kept for a later shim');
      return false;
    }
  }

  /** When the exit is in the bundle, or never will be. */
  unpin(path: string): void {
    if (this.#isOver) return;
    const { platform, log } = this.#dependencies;
    try {
      platform.mounts.unmount(path, { lazy: true });
      rmSync(path, { force: true });
    } catch (error) {
      log.debug({ error, path }, 'a pinned process stays until its bundle goes');
    }
  }

  /** Nothing is written any more: the bundle may be that of a successor. */
  end(): void {
    this.#isOver = true;
  }
}
