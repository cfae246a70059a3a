/**
 * A log file that is only appended to, by us alone, in batches of whole lines. A batch that cannot be written is dropped
 * as a whole and counted, for the container must go on; the shim's log tells when that begins and when it is over.
 */
import { closeSync, constants, fstatSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from '../../base/logger.ts';

export interface LogPosition {
  readonly inode: bigint;
  readonly sizeBytes: bigint;
}

export class CriLog implements Disposable {
  readonly path: string;
  readonly #log: Logger;
  #fd: number | undefined;
  #lostBytes = 0;

  constructor({ log }: { readonly log: Logger }, path: string) {
    this.#log = log;
    this.path = path;
  }

  /**
   * Opens the path anew, and makes the file where it is absent. What was open stays the log on failure.
   * Errors: of the file system, as Node has them.
   */
  reopen(): void {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK } = constants;
    // A FIFO in the place of the file must not hold the shim up.
    const fd = openSync(this.path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, 0o640);
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = fd;
  }

  /** Where the next batch will begin; undefined when nothing is open. */
  position(): LogPosition | undefined {
    if (this.#fd === undefined) return undefined;
    const { ino, size } = fstatSync(this.#fd, { bigint: true });
    return { inode: ino, sizeBytes: size };
  }

  /** Never throws. `at` is the present position. */
  append(batch: Uint8Array, at: LogPosition | undefined): void {
    let writtenBytes = 0;
    try {
      if (this.#fd === undefined) throw new Error(`${this.path} is not open`);
      while (writtenBytes < batch.length) writtenBytes += writeSync(this.#fd, batch, writtenBytes);
      if (this.#lostBytes > 0) this.#goesOn();
    } catch (error) {
      if (writtenBytes > 0 && at !== undefined) this.#takeBack(at);
      if (this.#lostBytes === 0)
        this.#log.error(
          { error, path: this.path },
          'a container log cannot be written: output is lost until that is mended',
        );
      this.#lostBytes += batch.length;
    }
  }

  #goesOn(): void {
    this.#log.warn(
      { path: this.path, lostBytes: this.#lostBytes },
      'a container log can be written again; what came meanwhile is lost',
    );
    this.#lostBytes = 0;
  }

  /** No piece of a line may be left. */
  #takeBack({ sizeBytes }: LogPosition): void {
    try {
      if (this.#fd !== undefined) ftruncateSync(this.#fd, Number(sizeBytes));
    } catch (error) {
      this.#log.error({ error, path: this.path }, 'a container log has a torn line');
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
