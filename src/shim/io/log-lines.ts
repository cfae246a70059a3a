/**
 * Output as lines of a CRI log: `<RFC3339Nano> stdout|stderr F|P <text>\n`. F ends a line; P is a piece of one that is
 * longer than the bound, or the end of an output without a newline. As in containerd a carriage return before the
 * newline is left out. All other bytes stay what they are.
 */
import { formatInstant, type Instant } from '../../base/time.ts';

export type OutputName = 'stdout' | 'stderr';

/** What stands before the text of a line. Both are of one length. */
export interface LineHeads {
  readonly full: Buffer;
  readonly partial: Buffer;
}

export function lineHeads(time: Instant, name: OutputName): LineHeads {
  const text = formatInstant(time);
  return { full: Buffer.from(`${text} ${name} F `), partial: Buffer.from(`${text} ${name} P `) };
}

export interface Formatted {
  /** Of the input: what lies beyond waits for its newline, or for room. */
  readonly consumedBytes: number;
  readonly writtenBytes: number;
}

const newline = 0x0a;
const carriageReturn = 0x0d;
/** Below it a loop is faster than a call. */
const shortBytes = 64;

/**
 * Whole lines of `input`, and with `isLast` all of it, into `out`, as far as there is room. What was consumed and is
 * given again, alone and as the last, comes out the same.
 */
export function formatLines(
  input: Buffer,
  out: Buffer,
  { full, partial }: LineHeads,
  { maxLineBytes, isLast }: { readonly maxLineBytes: number; readonly isLast: boolean },
): Formatted {
  let at = 0;
  let written = 0;
  let found = -1;
  while (at < input.length) {
    if (found < at) {
      found = input.indexOf(newline, at);
      if (found < 0) found = input.length;
    }
    const hasEnd = found < input.length;
    const end = hasEnd && found > at && input[found - 1] === carriageReturn ? found - 1 : found;
    const isCut = end - at > maxLineBytes;
    if (!hasEnd && !isLast && (!isCut || mayBeEnd(input, at + maxLineBytes))) break;
    const until = isCut ? at + maxLineBytes : end;
    if (written + full.length + (until - at) + 1 > out.length) break;
    written = put(full.length, isCut || !hasEnd ? partial : full, 0, out, written);
    written = put(until - at, input, at, out, written);
    out[written] = newline;
    written += 1;
    at = isCut ? until : Math.min(found + 1, input.length);
  }
  return { consumedBytes: at, writtenBytes: written };
}

/** The one byte beyond the bound is perhaps not of the line. */
const mayBeEnd = (input: Buffer, at: number): boolean =>
  at === input.length - 1 && input[at] === carriageReturn;

function put(sizeBytes: number, from: Buffer, fromAt: number, to: Buffer, toAt: number): number {
  if (sizeBytes < shortBytes)
    for (let index = 0; index < sizeBytes; index += 1) to[toAt + index] = from[fromAt + index] as number;
  else from.copy(to, toAt, fromAt, fromAt + sizeBytes);
  return toAt + sizeBytes;
}
