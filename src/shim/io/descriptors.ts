/** Descriptors that are closed together, each once. */
import { closeSync } from 'node:fs';

export class Descriptors implements Disposable {
  readonly #open = new Set<number>();

  /** Takes `fd` over and gives it back. */
  own(fd: number): number {
    this.#open.add(fd);
    return fd;
  }

  /** Gives `fd` away: somebody else closes it. */
  release(fd: number): number {
    this.#open.delete(fd);
    return fd;
  }

  close(fd: number | undefined): void {
    if (fd !== undefined && this.#open.delete(fd)) closeSync(fd);
  }

  /** Closes those of the list and empties it. */
  closeEach(fds: number[]): void {
    for (const fd of fds.splice(0)) this.close(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of [...this.#open]) this.close(fd);
  }
}
