/**
 * Bytes over a stream of values, with credit: the receiver grants a window, the sender never has more under way
 * (containerd.types.transfer Data and WindowUpdate). The end is the end of the stream; a failure cannot be told in it,
 * so whoever sends must tell it elsewhere.
 *
 * Differs from containerd: the sender knows when the receiver has taken the last byte. A receiver grants again whenever
 * less than a window is left to it, so a last message that begins on a whole window is always answered by a grant.
 * `ctr images export` ends with the answer of the transfer, not with the stream: without this it now and then leaves
 * a cut archive.
 */
import type { AnyValue } from '../../base/any-value.ts';
import { raceSignal } from '../../base/bounded-wait.ts';
import { invalidArgument, unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { packAny, typeNameOf, unpackAny } from '../../wire/any.ts';
import { DataSchema, WindowUpdateSchema } from '../../wire/gen/containerd/types/transfer/streaming_pb.js';
import type { ValueStream } from './stream-manager.ts';

const grant = (update: number): AnyValue => packAny(WindowUpdateSchema, { update });

export interface ByteStreamOptions {
  readonly signal: AbortSignal;
}

/** The bytes that the other side sends, in its pieces. Errors: InvalidArgument when it sends without credit. */
export async function* receiveBytes(
  stream: ValueStream,
  { signal }: ByteStreamOptions,
): AsyncGenerator<Uint8Array, void> {
  let windowBytes = 0;
  for (;;) {
    if (windowBytes < limits.streamWindowBytes) {
      await stream.send(grant(limits.streamWindowBytes));
      windowBytes += limits.streamWindowBytes;
    }
    const value = await raceSignal(stream.receive(), signal);
    if (value === undefined) return;
    if (typeNameOf(value) !== DataSchema.typeName) continue;
    const { data } = unpackAny(DataSchema, value);
    windowBytes -= data.byteLength;
    if (windowBytes < 0) throw invalidArgument('the client sends more than it was granted');
    yield data;
  }
}

/**
 * Sends all of `bytes` as the receiver grants, and closes the stream; when it resolves, the receiver has taken all of
 * it (or has its own way of granting and was waited for in vain). Errors: Unavailable when it leaves.
 */
export async function sendBytes(
  stream: ValueStream,
  bytes: AsyncIterable<Uint8Array>,
  { signal }: ByteStreamOptions,
): Promise<void> {
  const credit = new Credit(stream);
  const send = async (block: Uint8Array, messageBytes: number): Promise<void> => {
    for (let sent = 0; sent < block.byteLength; ) {
      const size = await credit.take(Math.min(messageBytes, block.byteLength - sent), signal);
      await raceSignal(stream.send(packAny(DataSchema, { data: block.subarray(sent, sent + size) })), signal);
      sent += size;
    }
  };
  try {
    let last: Uint8Array = new Uint8Array();
    for await (const block of inBlocks(bytes, limits.streamWindowBytes)) {
      await send(last, limits.streamMessageBytes);
      last = block;
    }
    await send(last, limits.streamWindowBytes);
    await credit.settled(AbortSignal.any([signal, AbortSignal.timeout(limits.streamSettleMs)]));
  } finally {
    const closed = stream.close();
    await raceSignal(closed, signal).catch(() => {});
  }
}

/** What the receiver has granted and nobody has used. */
class Credit {
  readonly #stream: ValueStream;
  #bytes = 0;

  constructor(stream: ValueStream) {
    this.#stream = stream;
  }

  /** Between one byte and `wantedBytes`. Errors: Unavailable when the receiver leaves. */
  async take(wantedBytes: number, signal: AbortSignal): Promise<number> {
    while (this.#bytes <= 0)
      if (!(await this.#grant(signal)))
        throw unavailable('the client closed the stream before it had all of the data');
    const size = Math.min(this.#bytes, wantedBytes);
    this.#bytes -= size;
    return size;
  }

  /** The receiver has a whole window again: it has taken what was sent. Never throws. */
  async settled(signal: AbortSignal): Promise<void> {
    try {
      while (this.#bytes < limits.streamWindowBytes && (await this.#grant(signal)));
    } catch {
      // It grants in some other way, or the call is given up: nothing more to be learnt from it.
    }
  }

  async #grant(signal: AbortSignal): Promise<boolean> {
    const value = await raceSignal(this.#stream.receive(), signal);
    if (value === undefined) return false;
    if (typeNameOf(value) === WindowUpdateSchema.typeName)
      this.#bytes += unpackAny(WindowUpdateSchema, value).update;
    return true;
  }
}

/** The same bytes in pieces of `sizeBytes`, the last one maybe shorter. */
async function* inBlocks(
  bytes: AsyncIterable<Uint8Array>,
  sizeBytes: number,
): AsyncGenerator<Uint8Array, void> {
  let block = Buffer.allocUnsafe(sizeBytes);
  let filled = 0;
  for await (const chunk of bytes)
    for (let taken = 0; taken < chunk.byteLength; ) {
      const part = chunk.subarray(taken, taken + sizeBytes - filled);
      block.set(part, filled);
      taken += part.byteLength;
      filled += part.byteLength;
      if (filled < sizeBytes) continue;
      yield block;
      block = Buffer.allocUnsafe(sizeBytes);
      filled = 0;
    }
  if (filled > 0) yield block.subarray(0, filled);
}
