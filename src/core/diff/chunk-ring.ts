/**
 * Chunks of bytes from the main thread to a worker that only makes synchronous calls: a ring of slots in shared
 * memory. The writer awaits a free slot, the reader blocks for a full one, so what is under way is bounded and
 * nothing is allocated for a chunk.
 */
import { canceled } from '../../base/errors.ts';

const slotCount = 8;
/** One slot takes one output chunk of the decompressor. */
const slotBytes = 256 * 1024;
const headerBytes = 64;

/** Words of the header; the sequence numbers only grow and wrap as 32-bit integers together. */
const writtenWord = 0;
const readWord = 1;
/** The number after the last chunk's; 0 until that is known. */
const endedWord = 2;
const abandonedWord = 3;
const firstLengthWord = 4;

export const makeRingMemory = (): SharedArrayBuffer =>
  new SharedArrayBuffer(headerBytes + slotCount * slotBytes);

class RingView {
  readonly words: Int32Array;
  readonly #slots: readonly Uint8Array[];

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory, 0, headerBytes / 4);
    this.#slots = Array.from(
      { length: slotCount },
      (_, index) => new Uint8Array(memory, headerBytes + index * slotBytes, slotBytes),
    );
  }

  slot(sequence: number): Uint8Array {
    return this.#slots[sequence & (slotCount - 1)]!;
  }

  lengthWord(sequence: number): number {
    return firstLengthWord + (sequence & (slotCount - 1));
  }
}

export class ChunkRingWriter {
  readonly #ring: RingView;

  constructor(memory: SharedArrayBuffer) {
    this.#ring = new RingView(memory);
  }

  /** Copies `bytes` in as slots become free; rejects as soon as `failed` does. */
  async write(bytes: Uint8Array, failed: Promise<never>): Promise<void> {
    const { words } = this.#ring;
    for (let at = 0; at < bytes.length; at += slotBytes) {
      const sequence = words[writtenWord]!;
      for (;;) {
        const read = Atomics.load(words, readWord);
        if (((sequence - read) | 0) < slotCount) break;
        const wait = Atomics.waitAsync(words, readWord, read);
        if (wait.async) await Promise.race([wait.value, failed]);
      }
      const part = bytes.subarray(at, at + slotBytes);
      this.#ring.slot(sequence).set(part);
      words[this.#ring.lengthWord(sequence)] = part.length;
      Atomics.store(words, writtenWord, (sequence + 1) | 0);
      Atomics.notify(words, writtenWord);
    }
  }

  /** Both sides let go: a `write` that waits returns, and the reader stops with an error. */
  abandon(): void {
    const { words } = this.#ring;
    Atomics.store(words, abandonedWord, 1);
    Atomics.add(words, writtenWord, 1);
    Atomics.notify(words, writtenWord);
    Atomics.notify(words, readWord);
  }

  end(): void {
    const { words } = this.#ring;
    const last = (words[writtenWord]! + 1) | 0;
    Atomics.store(words, endedWord, last);
    // The reader sleeps on the sequence number, so the end moves it too.
    Atomics.store(words, writtenWord, last);
    Atomics.notify(words, writtenWord);
  }
}

export class ChunkRingReader {
  readonly #ring: RingView;

  constructor(memory: SharedArrayBuffer) {
    this.#ring = new RingView(memory);
  }

  /** Blocks this thread until the writer ended. Errors: Canceled when the writer abandoned it. `take` has each chunk only during its call. */
  drain(take: (chunk: Uint8Array) => void): void {
    const { words } = this.#ring;
    for (;;) {
      const sequence = words[readWord]!;
      const written = Atomics.load(words, writtenWord);
      if (Atomics.load(words, abandonedWord) === 1) throw canceled('layer abandoned');
      if (written === sequence) {
        Atomics.wait(words, writtenWord, sequence);
        continue;
      }
      // The last step of the sequence carries no chunk but the end.
      if (((written - sequence) | 0) === 1 && Atomics.load(words, endedWord) === written) return;
      take(this.#ring.slot(sequence).subarray(0, words[this.#ring.lengthWord(sequence)]));
      Atomics.store(words, readWord, (sequence + 1) | 0);
      Atomics.notify(words, readWord);
    }
  }
}
