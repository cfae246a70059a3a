/**
 * What comes out of a terminal, to a CRI log and to attached clients. A terminal goes with the shim that relays it, and
 * so nothing is kept for a later one.
 */
import { Writable } from 'node:stream';
import type { Logger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import type { Attachments } from './attachments.ts';
import { CriLog } from './cri-log.ts';
import { formatLines, lineHeads } from './log-lines.ts';
import type { CriTarget } from './log-uri.ts';
import { scratchBuffers } from './output-pump.ts';

export interface TerminalLogDependencies {
  readonly log: Logger;
  readonly attachments: Attachments | undefined;
}

export class TerminalLog {
  /** Ends the log when it is destroyed. */
  readonly sink: Writable;
  readonly #attachments: Attachments | undefined;
  readonly #maxLineBytes: number;
  readonly #file: CriLog | undefined;
  #waiting: Buffer = Buffer.alloc(0);

  /** Errors: of the file system. */
  constructor({ log, attachments }: TerminalLogDependencies, { path, maxLineBytes }: CriTarget) {
    this.#attachments = attachments;
    this.#maxLineBytes = maxLineBytes;
    if (path !== '') {
      this.#file = new CriLog({ log }, path);
      this.#file.reopen();
    }
    this.sink = new Writable({
      write: (chunk: Buffer, _encoding, done) => this.#take(chunk, done),
      destroy: (error, done) => {
        this.#append(true);
        this.#file?.[Symbol.dispose]();
        this.#attachments?.end();
        done(error);
      },
    });
  }

  /** Errors: of the file system. */
  reopen(): void {
    this.#file?.reopen();
  }

  #take(chunk: Buffer, done: () => void): void {
    this.#attachments?.publish('stdout', chunk);
    if (this.#file !== undefined) {
      this.#waiting = Buffer.concat([this.#waiting, chunk]);
      this.#append(false);
    }
    if (this.#attachments?.isFull === true) this.#attachments.whenRoom(done);
    else done();
  }

  #append(isLast: boolean): void {
    const { output } = scratchBuffers();
    const heads = lineHeads(now(), 'stdout');
    while (this.#file !== undefined && this.#waiting.length > 0) {
      const options = { maxLineBytes: this.#maxLineBytes, isLast };
      const { consumedBytes, writtenBytes } = formatLines(this.#waiting, output, heads, options);
      if (consumedBytes === 0) return;
      this.#file.append(output.subarray(0, writtenBytes), this.#file.position());
      this.#waiting = this.#waiting.subarray(consumedBytes);
    }
  }
}
