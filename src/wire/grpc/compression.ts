/**
 * gzip on the messages of a call, as its header `grpc-encoding` announces it.
 *
 * As by containerd's server: an announced gzip lets each message be packed or not, and the answers are packed in turn,
 * all but the empty ones; `grpc-accept-encoding` is neither read nor sent. The words of refusals are grpc-go's, but
 * for what zlib says of damage. zlib works on threads of its own, so that no message holds up other calls.
 * Source: gRPC over HTTP/2, "Message-Encoding" and "Compressed-Flag"; RFC 1952.
 */
import type { IncomingHttpHeaders } from 'node:http2';
import { promisify } from 'node:util';
import { createGunzip, gzip } from 'node:zlib';
import { internal, resourceExhausted, unimplemented } from '../../base/errors.ts';
import { PackedMessage, type WireMessage } from './message-frames.ts';

const gzipEncoding = 'gzip';
const identityEncoding = 'identity';
const packedFormat = 1;

/** As the client wrote it, which may be anything; none is identity. */
export const readEncoding = (headers: IncomingHttpHeaders): string =>
  headers['grpc-encoding']?.toString() || identityEncoding;

export const isGzip = (encoding: string): boolean => encoding === gzipEncoding;

/** Errors: Unimplemented for an encoding that is neither gzip nor identity, whether or not it will be used. */
export function requireEncoding(encoding: string): void {
  if (isGzip(encoding) || encoding === identityEncoding) return;
  throw unimplemented(`grpc: Decompressor is not installed for grpc-encoding ${JSON.stringify(encoding)}`);
}

/**
 * The bytes that were packed; it holds no more than twice `maxBytes`, whatever comes.
 * Errors: ResourceExhausted as soon as there are more than `maxBytes`; Internal for a message that the call did not
 * announce, a format that is not known, damage, and bytes behind the end.
 */
export async function unpack(
  { bytes, format }: PackedMessage,
  { encoding, maxBytes }: { readonly encoding: string; readonly maxBytes: number },
): Promise<Uint8Array> {
  if (format !== packedFormat) throw internal(`grpc: received unexpected payload format ${format}`);
  if (!isGzip(encoding)) throw internal('grpc: compressed flag set with identity or empty encoding');
  const engine = createGunzip();
  engine.end(bytes);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of engine as AsyncIterable<Buffer>) {
      length += chunk.byteLength;
      if (length > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw internal(`grpc: failed to decompress the message: ${(error as Error).message}`, error);
  }
  if (length > maxBytes)
    throw resourceExhausted(`grpc: received message after decompression larger than max ${maxBytes}`);
  // zlib takes zeros behind the end for padding.
  if (engine.bytesWritten !== bytes.byteLength)
    throw internal('grpc: failed to decompress the message: it goes on behind the end of the gzip data');
  return Buffer.concat(chunks, length);
}

const gzipped = promisify(gzip);

/** `message` as gzip; an empty one stays as it is. */
export const pack = async (message: Uint8Array): Promise<WireMessage> =>
  message.byteLength === 0 ? message : new PackedMessage(await gzipped(message), packedFormat);
