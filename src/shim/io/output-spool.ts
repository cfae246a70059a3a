/**
 * Output on its way from a pipe to a log, so that a kill at any point neither loses a byte nor writes one twice.
 *
 * The kernel moves bytes from the pipe to the end of a spool file (splice(2)), so each is in one of the two. Before a
 * batch is appended to the log, the journal says which range of the spool it is made of, with which time, and where in
 * the log it begins. The next record says that the batch before it is whole. What a killed shim was appending is made
 * again from the journal, byte for byte, and the part that is missing is appended (log-recovery.ts).
 *
 * Offsets of a spool only grow; the room of what is done is given back to the file system.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import type { Instant } from '../../base/time.ts';
import type { PipeOperations } from '../../platform/platform.ts';

/** Bytes of output that are looked at in one go; more than the longest line (log-uri.ts) and a batch. */
export const viewBytes = 640 * 1024;
const fillBytes = 256 * 1024;
const pageBytes = 4096;

/** Where unwritten output waits: a spool, or memory when there can be none. */
export interface OutputSource extends Disposable {
  /** Takes from the pipe: how many bytes, 0 at its end, undefined when nothing is there now. */
  fill(pipeFd: number): number | undefined;
  /** All that waits, into `scratch`. */
  view(scratch: Buffer): Buffer;
  readonly doneBytes: number;
  done(sizeBytes: number): void;
  /** Gives the room of what is done back; the last batch must be whole by then. */
  freeDone(): void;
}

export class OutputSpool implements OutputSource {
  readonly #pipes: PipeOperations;
  readonly #fd: number;
  #doneBytes: number;
  #endBytes: number;
  #freedBytes = 0;

  /** `doneBytes` is what a shim before us has dealt with. */
  constructor(pipes: PipeOperations, path: string, doneBytes: number) {
    this.#pipes = pipes;
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#endBytes = fstatSync(this.#fd).size;
    this.#doneBytes = Math.min(doneBytes, this.#endBytes);
  }

  get doneBytes(): number {
    return this.#doneBytes;
  }

  fill(pipeFd: number): number | undefined {
    const room = Math.min(fillBytes, viewBytes - (this.#endBytes - this.#doneBytes));
    const moved = this.#pipes.moveToFile(pipeFd, this.#fd, this.#endBytes, room);
    this.#endBytes += moved ?? 0;
    return moved;
  }

  view(scratch: Buffer): Buffer {
    return this.range(scratch, this.#doneBytes, this.#endBytes);
  }

  /** Of what was spooled before, as far as it is there. */
  range(scratch: Buffer, from: number, to: number): Buffer {
    const size = Math.min(to - from, scratch.length);
    return scratch.subarray(0, readSync(this.#fd, scratch, 0, size, from));
  }

  done(sizeBytes: number): void {
    this.#doneBytes += sizeBytes;
  }

  freeDone(): void {
    const free = Math.floor(this.#doneBytes / pageBytes) * pageBytes;
    // Where the file system cannot, the file grows until the process is deleted.
    if (free > this.#freedBytes) this.#pipes.freeRange(this.#fd, this.#freedBytes, free - this.#freedBytes);
    this.#freedBytes = free;
  }

  /** What waits is the caller's from now on: a later shim finds nothing. */
  drop(): void {
    ftruncateSync(this.#fd, this.#doneBytes);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Where nothing is logged, or the spool cannot be written: a kill of the shim loses what it has in its hands. */
export class OutputMemory implements OutputSource {
  doneBytes = 0;
  #waiting: Buffer;

  constructor(waiting: Buffer = Buffer.alloc(0)) {
    this.#waiting = waiting;
  }

  fill(pipeFd: number): number | undefined {
    const room = Buffer.allocUnsafe(Math.min(fillBytes, viewBytes - this.#waiting.length));
    try {
      const taken = readSync(pipeFd, room);
      this.#waiting = Buffer.concat([this.#waiting, room.subarray(0, taken)]);
      return taken;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
      throw error;
    }
  }

  view(): Buffer {
    return this.#waiting;
  }

  done(sizeBytes: number): void {
    this.#waiting = this.#waiting.subarray(sizeBytes);
    this.doneBytes += sizeBytes;
  }

  freeDone(): void {}

  [Symbol.dispose](): void {}
}

export interface JournalRecord {
  /** Which output the batch is of: index of `doneBytes`. */
  readonly output: 0 | 1;
  /** What was done of each spool before the batch. */
  readonly doneBytes: readonly [number, number];
  readonly batchBytes: number;
  /** What it takes in the log. */
  readonly writtenBytes: number;
  readonly time: Instant;
  readonly inode: bigint;
  readonly logBytes: bigint;
}

const version = 1n;
const fields = 9;

export class LogJournal implements Disposable {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(fields * 8);

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  /** The last record; undefined when there is none. */
  read(): JournalRecord | undefined {
    if (readSync(this.#fd, this.#bytes, 0, this.#bytes.length, 0) < this.#bytes.length) return undefined;
    const field = (index: number): bigint => this.#bytes.readBigInt64LE(index * 8);
    if (field(0) !== version) return undefined;
    return {
      output: field(1) === 0n ? 0 : 1,
      doneBytes: [Number(field(2)), Number(field(3))],
      batchBytes: Number(field(4)),
      time: field(5) as Instant,
      inode: field(6),
      logBytes: field(7),
      writtenBytes: Number(field(8)),
    };
  }

  /** One write within a page: a kill leaves the old record or the new. */
  write(record: JournalRecord): void {
    const { output, doneBytes, batchBytes, time, inode, logBytes, writtenBytes } = record;
    const values = [version, output, ...doneBytes, batchBytes, time, inode, logBytes, writtenBytes];
    values.forEach((value, index) => {
      this.#bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)), index * 8);
    });
    writeSync(this.#fd, this.#bytes, 0, this.#bytes.length, 0);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
