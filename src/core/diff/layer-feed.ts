/**
 * A layer blob in a file, whole or still growing while it is downloaded, followed by a worker that inflates it. The
 * page cache stands between the two: no byte is copied between threads, the worker never holds the download up, and
 * memory does not grow with what lies between them.
 *
 * One side says how far the file is good, the other sleeps until there is more. Both check the digest for
 * themselves: nothing here vouches for the bytes.
 */
import { readSync } from 'node:fs';
import { canceled, internal } from '../../base/errors.ts';

/** A descriptor open for reading; dispose closes it. */
export interface BlobFile extends AsyncDisposable {
  readonly fd: number;
}

/** Words of the shared memory. The sequence moves with every change: the reader sleeps on it. */
const sequenceWord = 0;
const stateWord = 1;
const memoryBytes = 16;
const availableIndex = 1;

const growing = 0;
const complete = 1;
const abandoned = 2;

type FeedState = typeof growing | typeof complete | typeof abandoned;

/** One reader's view of a feed. Dispose when the reader has ended: the file may close then. */
export interface FeedFollower extends AsyncDisposable {
  readonly fd: number;
  readonly memory: SharedArrayBuffer;
  /** This reader stops; others go on. */
  abandon(): void;
}

export class LayerFeed implements AsyncDisposable {
  readonly #file: BlobFile;
  readonly #followers = new Set<FollowerMemory>();
  /** The maker and those who read. */
  #holders = 1;
  #availableBytes = 0;
  #state: FeedState = growing;

  /** Owns `file`, which stays open until the maker has disposed this and the last reader let go. */
  constructor(file: BlobFile) {
    this.#file = file;
  }

  /** The bytes turned out wrong, or will never be complete: whoever followed must begin anew elsewhere. */
  get isAbandoned(): boolean {
    return this.#state === abandoned;
  }

  /** The first `bytes` of the file are good to read. */
  advance(bytes: number): void {
    this.#availableBytes = bytes;
    this.#tell();
  }

  /** No more comes. */
  complete(): void {
    if (this.#state === growing) this.#end(complete);
  }

  /** Also when complete: the digest is looked at afterwards. */
  abandon(): void {
    this.#end(abandoned);
  }

  /** Keeps the file open until it is disposed; undefined when the file is closed already. */
  hold(): AsyncDisposable | undefined {
    if (this.#holders === 0) return undefined;
    this.#holders += 1;
    let isHeld = true;
    return {
      [Symbol.asyncDispose]: async () => {
        if (isHeld) await this.#release();
        isHeld = false;
      },
    };
  }

  /** Only while the file is held. */
  follow(): FeedFollower {
    const hold = this.hold();
    if (hold === undefined) throw internal('a closed blob file cannot be followed');
    const follower = new FollowerMemory();
    this.#followers.add(follower);
    follower.tell(this.#availableBytes, this.#state);
    return {
      fd: this.#file.fd,
      memory: follower.memory,
      abandon: () => follower.tell(0, abandoned),
      [Symbol.asyncDispose]: async () => {
        this.#followers.delete(follower);
        await hold[Symbol.asyncDispose]();
      },
    };
  }

  /** The maker's part: what is not complete by now is abandoned. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === growing) this.abandon();
    await this.#release();
  }

  async #release(): Promise<void> {
    this.#holders -= 1;
    if (this.#holders === 0) await this.#file[Symbol.asyncDispose]();
  }

  #end(state: FeedState): void {
    this.#state = state;
    this.#tell();
  }

  #tell(): void {
    for (const follower of this.#followers) follower.tell(this.#availableBytes, this.#state);
  }
}

/** A feed of a blob that is there. The caller keeps `file`. */
export function wholeFeed({ fd, sizeBytes }: { fd: number; sizeBytes: number }): LayerFeed {
  const feed = new LayerFeed({ fd, [Symbol.asyncDispose]: async () => {} });
  feed.advance(sizeBytes);
  feed.complete();
  return feed;
}

class FollowerMemory {
  readonly memory = new SharedArrayBuffer(memoryBytes);
  readonly #words = new Int32Array(this.memory);
  readonly #available = new BigInt64Array(this.memory);

  tell(availableBytes: number, state: FeedState): void {
    // A reader that was told to stop stays stopped.
    if (Atomics.load(this.#words, stateWord) === abandoned) return;
    Atomics.store(this.#available, availableIndex, BigInt(availableBytes));
    Atomics.store(this.#words, stateWord, state);
    Atomics.add(this.#words, sequenceWord, 1);
    Atomics.notify(this.#words, sequenceWord);
  }
}

const readBytes = 256 * 1024;

/** The worker's side. */
export class LayerFeedReader {
  readonly #fd: number;
  readonly #words: Int32Array;
  readonly #available: BigInt64Array;
  readonly #buffer = Buffer.allocUnsafeSlow(readBytes);

  constructor(fd: number, memory: SharedArrayBuffer) {
    this.#fd = fd;
    this.#words = new Int32Array(memory);
    this.#available = new BigInt64Array(memory);
  }

  /** Blocks this thread until the blob is complete. Errors: Canceled when it is abandoned. `take` has each chunk only during its call. */
  drain(take: (chunk: Uint8Array) => void): void {
    for (let at = 0; ; ) {
      // Read before what it tells about, so that no change is slept through.
      const sequence = Atomics.load(this.#words, sequenceWord);
      const state = Atomics.load(this.#words, stateWord);
      if (state === abandoned) throw canceled('layer abandoned');
      const available = Number(Atomics.load(this.#available, availableIndex));
      if (at < available) {
        const read = readSync(this.#fd, this.#buffer, 0, Math.min(readBytes, available - at), at);
        if (read === 0) throw canceled('the blob was cut while it was read');
        take(this.#buffer.subarray(0, read));
        at += read;
      } else if (state === complete) return;
      else Atomics.wait(this.#words, sequenceWord, sequence);
    }
  }
}
