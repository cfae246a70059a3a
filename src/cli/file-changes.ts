/** Tells when a file has changed, as the system reports it (inotify). */
import { type FSWatcher, watch } from 'node:fs';

export class FileChanges implements Disposable {
  readonly #watcher: FSWatcher;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(path: string) {
    this.#watcher = watch(path, () => {
      this.#changed = true;
      this.#wake?.();
    });
  }

  /** Resolves with false at the first change since the last answer; at once when there was one. */
  async next(): Promise<false> {
    if (!this.#changed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    this.#changed = false;
    return false;
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
    this.#wake?.();
  }
}
