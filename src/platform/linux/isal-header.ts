/**
 * The header of a gzip member (RFC 1952, 2.3), passed by piece by piece. As strict as zlib: ISA-L's own reading lets
 * reserved flags and a wrong header checksum pass.
 */
import { crc32 } from 'node:zlib';
import { invalidArgument } from '../../base/errors.ts';

const fixedBytes = 10;
const flag = { headerCheck: 2, extra: 4, name: 8, comment: 16, reserved: 0xe0 } as const;

type Part = 'fixed' | 'extra-length' | 'extra' | 'name' | 'comment' | 'check';

export class GzipHeader {
  isDone = false;
  #parts: Part[] = ['fixed'];
  #flags = 0;
  /** Of the bytes before the check. */
  #check = 0;
  /** Done of the present part. */
  #done = 0;
  #length = 0;

  /** Returns how far it got between `at` and `end`. Errors: InvalidArgument. */
  push(bytes: Uint8Array, at: number, end: number): number {
    let next = at;
    while (next < end && !this.isDone) {
      const part = this.#parts[0]!;
      const byte = bytes[next]!;
      next += 1;
      if (part === 'check') this.#takeCheck(byte);
      else {
        this.#check = crc32(Buffer.of(byte), this.#check);
        if (this.#isLast(part, byte)) this.#leave(part);
      }
    }
    return next;
  }

  #isLast(part: Exclude<Part, 'check'>, byte: number): boolean {
    const index = this.#done;
    this.#done += 1;
    switch (part) {
      case 'fixed':
        this.#takeFixed(index, byte);
        return this.#done === fixedBytes;
      case 'extra-length':
        this.#length |= byte << (8 * index);
        return this.#done === 2;
      case 'extra':
        return this.#done === this.#length;
      default:
        return byte === 0;
    }
  }

  #takeFixed(index: number, byte: number): void {
    const expected = [0x1f, 0x8b, 8][index];
    if (expected !== undefined && byte !== expected)
      throw invalidArgument('gzip stream is damaged: incorrect header');
    if (index !== 3) return;
    if ((byte & flag.reserved) !== 0) throw invalidArgument('gzip stream is damaged: unknown header flags');
    this.#flags = byte;
  }

  #takeCheck(byte: number): void {
    if (byte !== ((this.#check >>> (8 * this.#done)) & 0xff))
      throw invalidArgument('gzip stream is damaged: header checksum does not hold');
    this.#done += 1;
    if (this.#done === 2) this.#leave('check');
  }

  #leave(part: Part): void {
    this.#done = 0;
    this.#parts.shift();
    const has = (bit: number): boolean => (this.#flags & bit) !== 0;
    if (part === 'fixed') {
      if (has(flag.extra)) this.#parts.push('extra-length');
      if (has(flag.name)) this.#parts.push('name');
      if (has(flag.comment)) this.#parts.push('comment');
      if (has(flag.headerCheck)) this.#parts.push('check');
    } else if (part === 'extra-length' && this.#length > 0) this.#parts.unshift('extra');
    this.isDone = this.#parts.length === 0;
  }
}
