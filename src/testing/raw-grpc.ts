/** gRPC calls byte by byte, for what no client library sends. */
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';

/** What a server answered, as it travelled. */
export interface RawAnswer {
  /** The number of the status; undefined when the stream ended without one. */
  readonly code: string | undefined;
  /** Percent-encoding taken off. */
  readonly message: string;
  /** The first header block, which is also the last when no message came. */
  readonly headers: IncomingHttpHeaders;
  readonly frames: readonly RawFrame[];
}

export interface RawFrame {
  /** The byte before the length. */
  readonly format: number;
  readonly bytes: Buffer;
}

export function framed(payload: Uint8Array, format = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = format;
  prefix.writeUInt32BE(payload.byteLength, 1);
  return Buffer.concat([prefix, payload]);
}

export class RawGrpc implements Disposable {
  readonly session: ClientHttp2Session;

  /** Connects to the unix socket at `path`. */
  constructor(path: string) {
    this.session = connectHttp2('http://localhost', { createConnection: () => connect({ path }) });
    this.session.on('error', () => {});
  }

  /** Sends `body` as it is; never fails. */
  async call(method: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<RawAnswer> {
    const stream = this.session.request({
      ':method': 'POST',
      ':path': method,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    let first: IncomingHttpHeaders = {};
    let last: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on('response', (block) => {
      first = block;
      if (block['grpc-status'] !== undefined) last = block;
    });
    stream.on('trailers', (block) => {
      last = block;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    // The answer says what happened; that the server cut the stream after it is no more news.
    stream.on('error', () => {});
    const closed = new Promise<void>((resolve) => stream.once('close', resolve));
    stream.end(body);
    await closed;
    return {
      code: last['grpc-status']?.toString(),
      message: decodeURIComponent(last['grpc-message']?.toString() ?? ''),
      headers: first,
      frames: framesIn(Buffer.concat(chunks)),
    };
  }

  [Symbol.dispose](): void {
    this.session.destroy();
  }
}

function framesIn(bytes: Buffer): RawFrame[] {
  const frames: RawFrame[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    frames.push({ format: bytes.readUInt8(at), bytes: bytes.subarray(at + 5, end) });
    at = end;
  }
  return frames;
}
