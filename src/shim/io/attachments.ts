/**
 * The clients that are attached to a process: each gets its output from when it came, beside the log, and may bring
 * input. A client that is slow is dropped, unless it asked to be waited for; then only its own process waits.
 */
import { failedPrecondition, resourceExhausted } from '../../base/errors.ts';
import type { OutputName } from './log-lines.ts';

/** What may wait for a client before it is slow. */
const waitingBytesMax = 1024 * 1024;
/** In one message. */
const chunkBytesMax = 256 * 1024;

/** The process's stdin. */
export interface ProcessInput {
  /** Resolves when the bytes are out of our hands; those of a process that reads no more are dropped. */
  write(bytes: Uint8Array): Promise<void>;
  /** The process sees the end. */
  close(): void;
}

export interface AttachOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly lossless: boolean;
}

export interface OutputChunk {
  readonly name: OutputName;
  readonly bytes: Uint8Array;
}

export class Attachments {
  readonly #clients = new Set<Attachment>();
  readonly #input = Promise.withResolvers<ProcessInput | undefined>();
  readonly #closesAfterFirst: boolean;
  #onRoom: (() => void)[] = [];
  #isOver = false;

  constructor({ once }: { readonly once: boolean }) {
    this.#closesAfterFirst = once;
  }

  /** To be called when it is known; undefined when the process has no stdin. */
  setInput(input: ProcessInput | undefined): void {
    this.#input.resolve(input);
  }

  /** The caller must call `leave`. One that comes after the end finds nothing more. */
  attach(options: AttachOptions): Attachment {
    const client = new Attachment(options, {
      input: this.#input.promise,
      onRoom: () => this.#hasRoom(),
      onInputEnd: () => {
        if (this.#closesAfterFirst) this.closeInput();
      },
      onLeave: () => {
        this.#clients.delete(client);
        this.#hasRoom();
      },
    });
    if (this.#isOver) client.end();
    else this.#clients.add(client);
    return client;
  }

  /** `bytes` are copied when somebody wants them. */
  publish(name: OutputName, bytes: Uint8Array): void {
    let copy: Uint8Array | undefined;
    for (const client of this.#clients) {
      if (!client.wants(name)) continue;
      copy ??= Uint8Array.from(bytes);
      client.push({ name, bytes: copy });
    }
  }

  /** A client that must not lose anything has enough. */
  get isFull(): boolean {
    for (const client of this.#clients) if (client.isFull) return true;
    return false;
  }

  /** Calls back once, when it is no longer full. */
  whenRoom(callBack: () => void): void {
    this.#onRoom.push(callBack);
  }

  /** Nothing more comes. */
  end(): void {
    this.#isOver = true;
    this.#input.resolve(undefined);
    for (const client of this.#clients) client.end();
  }

  closeInput(): void {
    void this.#input.promise.then((input) => input?.close());
  }

  #hasRoom(): void {
    if (this.isFull) return;
    for (const callBack of this.#onRoom.splice(0)) callBack();
  }
}

interface AttachmentDependencies {
  readonly input: Promise<ProcessInput | undefined>;
  readonly onRoom: () => void;
  readonly onInputEnd: () => void;
  readonly onLeave: () => void;
}

export class Attachment {
  readonly options: AttachOptions;
  readonly #dependencies: AttachmentDependencies;
  readonly #chunks: OutputChunk[] = [];
  #waitingBytes = 0;
  #creditBytes = 0;
  #wake: (() => void) | undefined;
  #ended = false;
  #inputClosed = false;
  #error: Error | undefined;

  constructor(options: AttachOptions, dependencies: AttachmentDependencies) {
    this.options = options;
    this.#dependencies = dependencies;
  }

  wants(name: OutputName): boolean {
    return !this.#ended && this.options[name];
  }

  get isFull(): boolean {
    return this.options.lossless && !this.#ended && this.#waitingBytes >= chunkBytesMax;
  }

  push(chunk: OutputChunk): void {
    this.#chunks.push(chunk);
    this.#waitingBytes += chunk.bytes.length;
    if (!this.options.lossless && this.#waitingBytes > waitingBytesMax) {
      this.#chunks.length = 0;
      const limit = `${waitingBytesMax / 1024 / 1024} MiB`;
      this.#finish(
        resourceExhausted(`the attached client was too slow: more than ${limit} of output waited for it`),
      );
    }
    this.#wake?.();
  }

  /** So many bytes more may go to the client. */
  grant(bytes: number): void {
    this.#creditBytes += bytes;
    this.#wake?.();
  }

  end(): void {
    this.#finish(undefined);
  }

  /** The client has no more input. */
  closeInput(): void {
    if (!this.options.stdin || this.#inputClosed) return;
    this.#inputClosed = true;
    this.#dependencies.onInputEnd();
  }

  /** May be called twice. */
  leave(): void {
    this.#finish(undefined);
    this.#chunks.length = 0;
    this.closeInput();
    this.#dependencies.onLeave();
  }

  /** Resolves when the process has taken them. Errors: FailedPrecondition without a stdin. */
  async write(bytes: Uint8Array): Promise<void> {
    const input = this.options.stdin ? await this.#dependencies.input : undefined;
    if (input !== undefined) await input.write(bytes);
    else if (!this.#ended) throw failedPrecondition('the process has no stdin that clients may write to');
  }

  /** Output as far as the client granted it. Throws when it was dropped. */
  async *chunks(): AsyncGenerator<OutputChunk, void> {
    for (;;) {
      const chunk = this.#next();
      if (chunk !== undefined) yield chunk;
      else if (this.#error !== undefined) throw this.#error;
      else if (this.#ended && this.#chunks.length === 0) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }

  #next(): OutputChunk | undefined {
    const [first] = this.#chunks;
    if (first === undefined || this.#creditBytes === 0) return undefined;
    const bytes = first.bytes.subarray(0, Math.min(chunkBytesMax, this.#creditBytes));
    if (bytes.length === first.bytes.length) this.#chunks.shift();
    else this.#chunks[0] = { name: first.name, bytes: first.bytes.subarray(bytes.length) };
    this.#creditBytes -= bytes.length;
    this.#waitingBytes -= bytes.length;
    if (!this.isFull) this.#dependencies.onRoom();
    return { name: first.name, bytes };
  }

  #finish(error: Error | undefined): void {
    if (!this.#ended) this.#error = error;
    this.#ended = true;
    this.#wake?.();
    this.#dependencies.onRoom();
  }
}
