/**
 * The four ways GNU tar writes sparse files (GNU tar manual, "Storing Sparse Files"): the old GNU header, and PAX
 * 0.0, 0.1 and 1.0. Whatever the way, out comes a list of segments that was checked.
 */
import { invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { TarSegment } from './tar-entry.ts';
import { blockBytes, decodeText, numberField } from './tar-header.ts';
import { type PaxRecord, parsePaxNumber } from './tar-pax.ts';

/** Errors: InvalidArgument unless ascending, disjoint, inside the file, and as long together as the data. */
export function checkSegments(
  segments: readonly TarSegment[],
  sizeBytes: number,
  dataBytes: number,
): readonly TarSegment[] {
  let end = 0;
  let sum = 0;
  for (const { offset, lengthBytes } of segments) {
    if (offset < end || offset + lengthBytes > sizeBytes)
      throw invalidArgument('tar: sparse map is out of order or larger than the file');
    end = offset + lengthBytes;
    sum += lengthBytes;
  }
  if (sum !== dataBytes) throw invalidArgument('tar: sparse map does not match the data');
  // A final segment of length 0 only marks the file's end.
  return segments.filter((segment) => segment.lengthBytes > 0);
}

function addSegment(segments: TarSegment[], offset: number, lengthBytes: number): void {
  if (segments.length >= limits.tarSparseSegments)
    throw invalidArgument(`tar: sparse map has more than ${limits.tarSparseSegments} entries`);
  if (offset < 0 || lengthBytes < 0) throw invalidArgument('tar: negative number in a sparse map');
  segments.push({ offset, lengthBytes });
}

function readPairs(block: Buffer, start: number, count: number, into: TarSegment[]): void {
  for (let index = 0; index < count; index += 1) {
    const at = start + index * 24;
    if (block[at] === 0) return;
    addSegment(into, numberField(block, at, 12), numberField(block, at + 12, 12));
  }
}

/** Pairs of an old GNU header (type S). `more` when extension blocks follow it. */
export function readOldGnuHeader(block: Buffer, into: TarSegment[]): { more: boolean; sizeBytes: number } {
  readPairs(block, 386, 4, into);
  return { more: block[482] !== 0, sizeBytes: numberField(block, 483, 12) };
}

/** Pairs of an extension block; true when one more follows. */
export function readOldGnuExtension(block: Buffer, into: TarSegment[]): boolean {
  readPairs(block, 0, 21, into);
  return block[504] !== 0;
}

/** What the PAX records say about sparseness; `segments` undefined when the map stands before the data (1.0). */
export interface PaxSparse {
  readonly name: string | undefined;
  readonly sizeBytes: number;
  readonly segments: readonly TarSegment[] | undefined;
}

/** Undefined for an ordinary file. Errors: InvalidArgument. */
export function paxSparse(records: readonly PaxRecord[]): PaxSparse | undefined {
  const last = new Map<string, string>();
  const numbers: number[] = [];
  let name: string | undefined;
  for (const { key, value } of records) {
    if (!key.startsWith('GNU.sparse.')) continue;
    const word = key.slice('GNU.sparse.'.length);
    if (word === 'map') {
      for (const number of mapNumbers(value)) numbers.push(number);
    } else if (word === 'offset' || word === 'numbytes') numbers.push(parsePaxNumber(value.toString()));
    else if (word === 'name') name = decodeText(value);
    else last.set(word, value.toString());
  }
  const size = last.get('realsize') ?? last.get('size');
  if (size === undefined) return undefined;
  const sizeBytes = parsePaxNumber(size);
  if (last.get('major') === '1' && last.get('minor') === '0') return { name, sizeBytes, segments: undefined };
  if (numbers.length % 2 !== 0) throw invalidArgument('tar: sparse map has an offset without a length');
  const segments: TarSegment[] = [];
  for (let index = 0; index < numbers.length; index += 2)
    addSegment(segments, numbers[index]!, numbers[index + 1]!);
  return { name, sizeBytes, segments };
}

const mapNumbers = (value: Buffer): number[] =>
  value.length === 0 ? [] : value.toString('latin1').split(',').map(parsePaxNumber);

/** The map of PAX 1.0, which stands before the data in decimal lines, padded to whole blocks. */
export class SparseMapReader {
  readonly #segments: TarSegment[] = [];
  #text = '';
  #left: number | undefined;
  #offset: number | undefined;
  /** Blocks taken so far, in bytes: they count as data in the header. */
  mapBytes = 0;

  /** Takes the next block; the segments when the map is complete. Errors: InvalidArgument. */
  push(block: Buffer): readonly TarSegment[] | undefined {
    this.mapBytes += blockBytes;
    const lines = (this.#text + block.toString('latin1')).split('\n');
    // The last line of the map is padded with NULs up to the block's end.
    this.#text = lines.pop()!;
    if (this.#text.length > blockBytes) throw invalidArgument('tar: malformed sparse map');
    for (const line of lines) {
      const value = parsePaxNumber(line);
      if (this.#left === undefined) this.#left = value;
      else if (this.#offset === undefined) this.#offset = value;
      else {
        addSegment(this.#segments, this.#offset, value);
        this.#offset = undefined;
        this.#left -= 1;
      }
      if (this.#left === 0) return this.#segments;
    }
    return undefined;
  }
}
