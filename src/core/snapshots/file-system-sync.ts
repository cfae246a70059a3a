/**
 * Syncs of one file system, shared: whoever asks while one is under way waits for the next, which is one for all of
 * them. (That under way may have passed their writes by.)
 */
import type { FileOperations } from '../../platform/platform.ts';

export class FileSystemSync {
  readonly #files: Pick<FileOperations, 'syncFileSystem'>;
  readonly #path: string;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  /** Of the file system that holds `path`. */
  constructor({ files }: { files: Pick<FileOperations, 'syncFileSystem'> }, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /** What was written before the call is durable when it resolves. */
  async sync(): Promise<void> {
    this.#next ??= this.#running.then(() => this.#start());
    await this.#next;
  }

  async #start(): Promise<void> {
    this.#next = undefined;
    const run = this.#files.syncFileSystem(this.#path);
    // Its failure is told to those who waited for it, and to nobody after.
    this.#running = run.catch(() => {});
    await run;
  }
}
