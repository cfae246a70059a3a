/**
 * Bytes over a stream of values, with credit: the receiver grants a window, the sender never has more under way
 * (containerd.types.transfer Data and WindowUpdate). The end is the end of the stream; a failure cannot be told in it,
 * so whoever sends must tell it elsewhere.
 */
import type { AnyValue } from '../../base/any-value.ts';
import { invalidArgument, unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { packAny, typeNameOf, unpackAny } from '../../wire/any.ts';
import { DataSchema, WindowUpdateSchema } from '../../wire/gen/containerd/types/transfer/streaming_pb.js';
import type { ValueStream } from './stream-manager.ts';

const grant = (update: number): AnyValue => packAny(WindowUpdateSchema, { update });

/** The bytes that the other side sends, in its pieces. Errors: InvalidArgument when it sends without credit. */
export async function* receiveBytes(stream: ValueStream): AsyncGenerator<Uint8Array, void> {
  let windowBytes = 0;
  for (;;) {
    if (windowBytes < limits.streamWindowBytes) {
      await stream.send(grant(limits.streamWindowBytes));
      windowBytes += limits.streamWindowBytes;
    }
    const value = await stream.receive();
    if (value === undefined) return;
    if (typeNameOf(value) !== DataSchema.typeName) continue;
    const { data } = unpackAny(DataSchema, value);
    windowBytes -= data.byteLength;
    if (windowBytes < 0) throw invalidArgument('the client sends more than it was granted');
    yield data;
  }
}

/**
 * Sends all of `bytes` as the receiver grants, and closes the stream; when it resolves, the receiver's side of the
 * connection has all of it, so an answer that goes out after is not read before. Errors: Unavailable when it leaves.
 */
export async function sendBytes(stream: ValueStream, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    let windowBytes = 0;
    for await (const chunk of bytes)
      for (let sent = 0; sent < chunk.byteLength; ) {
        while (windowBytes <= 0) windowBytes += await nextGrant(stream);
        const size = Math.min(windowBytes, limits.streamMessageBytes, chunk.byteLength - sent);
        await stream.send(packAny(DataSchema, { data: chunk.subarray(sent, sent + size) }));
        windowBytes -= size;
        sent += size;
      }
    // The protocol waits for each message before it takes the next: this one makes it wait for the last with data.
    await stream.send(packAny(DataSchema, {}));
  } finally {
    await stream.close();
  }
}

async function nextGrant(stream: ValueStream): Promise<number> {
  const value = await stream.receive();
  if (value === undefined) throw unavailable('the client closed the stream before it had all of the data');
  return typeNameOf(value) === WindowUpdateSchema.typeName ? unpackAny(WindowUpdateSchema, value).update : 0;
}
