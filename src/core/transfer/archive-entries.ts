/**
 * A tar that arrives in chunks, as a sequence of files to be awaited one after the other: the synchronous reader of
 * core/diff turned inside out. Compressed archives (gzip, zstd) are recognised by their first bytes.
 */
import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { invalidArgument } from '../../base/errors.ts';
import type { TarEntry } from '../diff/tar-entry.ts';
import { TarReader } from '../diff/tar-reader.ts';

export type ArchiveStep =
  | { readonly kind: 'entry'; readonly entry: TarEntry }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' };

/** An entry, its data in order, its end; and so on. Errors: InvalidArgument for what is no tar. */
export async function* archiveSteps(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveStep, void> {
  let steps: ArchiveStep[] = [];
  const reader = new TarReader({
    entry: (entry) => steps.push({ kind: 'entry', entry }),
    data: (data) => steps.push({ kind: 'data', bytes: Buffer.from(data) }),
    end: () => steps.push({ kind: 'end' }),
  });
  for await (const chunk of inflated(bytes)) {
    reader.push(chunk);
    const ready = steps;
    steps = [];
    yield* ready;
  }
  reader.end();
  yield* steps;
}

const magics = [
  { bytes: [0x1f, 0x8b], inflate: createGunzip },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], inflate: createZstdDecompress },
] as const;
const longestMagic = 4;

async function* inflated(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const chunks = bytes[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.byteLength < longestMagic) {
    const step = await chunks.next();
    if (step.done === true) break;
    head = Buffer.concat([head, step.value]);
  }
  const all = rejoined(head, chunks);
  const magic = magics.find((known) => known.bytes.every((byte, index) => head[index] === byte));
  if (magic === undefined) {
    yield* all;
    return;
  }
  const source = Readable.from(all, { objectMode: false });
  const inflater = magic.inflate();
  source.on('error', (error) => inflater.destroy(error));
  try {
    for await (const chunk of source.pipe(inflater)) yield chunk as Uint8Array;
  } catch (error) {
    throw (error as { code?: unknown }).code?.toString().startsWith('Z') === true
      ? invalidArgument(`the archive cannot be decompressed: ${(error as Error).message}`, error)
      : error;
  } finally {
    source.destroy();
    inflater.destroy();
  }
}

async function* rejoined(
  head: Uint8Array,
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  try {
    if (head.byteLength > 0) yield head;
    for (let step = await rest.next(); step.done !== true; step = await rest.next()) yield step.value;
  } finally {
    await rest.return?.();
  }
}
