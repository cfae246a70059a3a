/**
 * From seeds to inputs: bits flipped, bytes set, cuts, repetitions, words of the format put in, seeds spliced. A
 * fast-check arbitrary, so that a failure shrinks to few changes and comes again with its seed.
 */
import * as fc from 'fast-check';
import type { FuzzTarget } from './fuzz-target.ts';

type Change =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'set'; readonly at: number; readonly value: number }
  | { readonly kind: 'truncate'; readonly at: number }
  | { readonly kind: 'delete'; readonly at: number; readonly length: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'word'; readonly at: number; readonly word: number; readonly over: boolean }
  | { readonly kind: 'repeat'; readonly at: number; readonly length: number; readonly times: number }
  | { readonly kind: 'splice'; readonly at: number; readonly other: number; readonly from: number };

/** What has broken parsers of all kinds: bounds of numbers, names of prototypes, half escapes, other alphabets. */
const commonWords = [
  ...['0', '-1', '1', '255', '65536', '2147483648', '4294967295', '4294967296', '9007199254740993'],
  ...['18446744073709551616', '1e309', 'NaN', '__proto__', 'constructor', 'toString', 'null', 'true'],
  ...['\0', '\n', '\r\n', '\t', ' ', '"', "'", '\\', '%', '%00', '%zz', '/', '../', ':', '@', ',', '.', ';'],
  ...['=', '[', ']', '{', '}', '(', ')', '[[[[[[[[', '{{{{{{{{', 'é', '😀', '\u202e', '\ufeff', '\u{10ffff}'],
];
const commonBytes = [
  'ff',
  'ffffffff',
  '00000000',
  '7fffffff',
  '80000000',
  'c080',
  'eda080',
  'f5',
  '0000000000',
];

const place = fc.nat(0x7fff_ffff);

const changes: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('set' as const), at: place, value: fc.nat(255) }),
  fc.record({ kind: fc.constant('truncate' as const), at: place }),
  fc.record({ kind: fc.constant('delete' as const), at: place, length: fc.nat(64) }),
  fc.record({ kind: fc.constant('insert' as const), at: place, bytes: fc.uint8Array({ maxLength: 16 }) }),
  fc.record({ kind: fc.constant('word' as const), at: place, word: place, over: fc.boolean() }),
  fc.record({
    kind: fc.constant('repeat' as const),
    at: place,
    length: fc.integer({ min: 1, max: 32 }),
    times: fc.oneof(fc.nat(8), fc.nat(100_000)),
  }),
  fc.record({ kind: fc.constant('splice' as const), at: place, other: place, from: place }),
);

/** Inputs for a target, at most as long as it wants them; now and then bytes that no seed had a part in. */
export function inputsFor(target: FuzzTarget): fc.Arbitrary<Buffer> {
  const seeds = [...target.seeds, ...(target.hostile ?? [])].map((seed) => Buffer.from(seed));
  const words = [
    ...(target.words ?? []).map((word) => Buffer.from(word)),
    ...commonWords.map((word) => Buffer.from(word)),
    ...commonBytes.map((word) => Buffer.from(word, 'hex')),
  ];
  const maxBytes = target.maxBytes ?? 4096;
  const mutated = fc
    .tuple(fc.nat(seeds.length - 1), fc.array(changes, { maxLength: 8 }))
    .map(([seed, all]) =>
      all.reduce<Buffer>(
        (bytes, change) => apply(change, bytes, { seeds, words, maxBytes }).subarray(0, maxBytes),
        seeds[seed] ?? Buffer.alloc(0),
      ),
    );
  const wordsOnly = fc
    .array(fc.nat(words.length - 1), { maxLength: 40 })
    .map((indices) => Buffer.concat(indices.map((index) => words[index] ?? Buffer.alloc(0))));
  const anything = fc.uint8Array({ maxLength: Math.min(maxBytes, 512) }).map((bytes) => Buffer.from(bytes));
  return fc
    .oneof(
      { arbitrary: mutated, weight: 8 },
      { arbitrary: wordsOnly, weight: 1 },
      { arbitrary: anything, weight: 1 },
    )
    .map((bytes) => Buffer.from(target.mend?.(Buffer.from(bytes)) ?? bytes));
}

interface Material {
  readonly seeds: readonly Buffer[];
  readonly words: readonly Buffer[];
  readonly maxBytes: number;
}

function apply(change: Change, bytes: Buffer, { seeds, words, maxBytes }: Material): Buffer {
  const at = change.at % (bytes.length + 1);
  const before = bytes.subarray(0, at);
  const after = bytes.subarray(at);
  switch (change.kind) {
    case 'flip':
      return withByte(bytes, at, (byte) => byte ^ (1 << change.bit));
    case 'set':
      return withByte(bytes, at, () => change.value);
    case 'truncate':
      return before;
    case 'delete':
      return Buffer.concat([before, after.subarray(change.length)]);
    case 'insert':
      return Buffer.concat([before, change.bytes, after]);
    case 'word': {
      const word = words[change.word % words.length] ?? Buffer.alloc(0);
      return Buffer.concat([before, word, after.subarray(change.over ? word.length : 0)]);
    }
    case 'repeat': {
      const part = after.subarray(0, change.length);
      if (part.length === 0) return bytes;
      const times = Math.min(change.times, Math.ceil(maxBytes / part.length));
      return Buffer.concat([before, ...Array.from({ length: times }, () => part), after]);
    }
    case 'splice': {
      const other = seeds[change.other % seeds.length] ?? Buffer.alloc(0);
      return Buffer.concat([before, other.subarray(change.from % (other.length + 1))]);
    }
    default:
      return change satisfies never;
  }
}

function withByte(bytes: Buffer, at: number, change: (byte: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  if (at < copy.length) copy[at] = change(copy[at] ?? 0);
  return copy;
}
