/**
 * Port forwarding over SPDY: for each connection the client opens an error stream and a data stream with the same
 * request id and port, at any time, until it leaves.
 */
import type { Duplex } from 'node:stream';
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { limits } from '../../base/limits.ts';
import { forwardPort } from './forward.ts';
import { settle } from './settle.ts';
import { SpdyConnection } from './spdy/connection.ts';
import type { SpdyStream } from './spdy/stream.ts';
import type { ForwardRequest, StreamingRuntime } from './streaming-runtime.ts';

export const spdyForwardProtocols = ['portforward.k8s.io'] as const;

interface Pair {
  readonly port: number;
  error?: SpdyStream;
  data?: SpdyStream;
  readonly deadline: NodeJS.Timeout;
}

/** Until the client leaves and what it forwarded has ended. */
export async function serveSpdyForward(
  ctx: NamespacedContext,
  { runtime, socket }: { readonly runtime: StreamingRuntime; readonly socket: Duplex },
  request: ForwardRequest,
): Promise<void> {
  const pairs = new Pairs((pair) => {
    const { data, error, port } = pair;
    const forwarding = forwardPort(
      withSignal(ctx, AbortSignal.any([connection.signal, data.signal])),
      { runtime },
      request,
      port,
      { incoming: data.incoming, outgoing: data, error },
    ).finally(() => {
      data.incoming.abandon();
      active.delete(forwarding);
    });
    active.add(forwarding);
  });
  const active = new Set<Promise<void>>();
  const connection = new SpdyConnection({
    socket,
    log: ctx.log,
    // Streams that were reset leave their calls behind for a while: these have the same limit.
    onStream: (stream) => active.size < limits.spdyStreams && pairs.add(stream),
  });
  try {
    await connection.run();
    await Promise.all(active);
  } finally {
    pairs[Symbol.dispose]();
    await settle(connection, Promise.resolve());
  }
}

/** Streams that wait for their other half. */
class Pairs implements Disposable {
  readonly #waiting = new Map<string, Pair>();
  readonly #onPair: (pair: Required<Pair>) => void;

  constructor(onPair: (pair: Required<Pair>) => void) {
    this.#onPair = onPair;
  }

  /** False for a stream that says not well what it is, or that there is already. */
  add(stream: SpdyStream): boolean {
    const type = stream.headers.get('streamtype');
    const port = parsePort(stream.headers.get('port'));
    if ((type !== 'error' && type !== 'data') || port === undefined) return false;
    const id = requestIdOf(stream, type);
    const pair = this.#waiting.get(id) ?? this.#begin(id, port);
    if (pair.port !== port || pair[type] !== undefined) return false;
    pair[type] = stream;
    stream.signal.addEventListener('abort', () => this.#drop(id, pair), { once: true });
    // Nobody reads what the client might say in it.
    if (type === 'error') stream.incoming.abandon();
    const { error, data } = pair;
    if (error === undefined || data === undefined) return true;
    clearTimeout(pair.deadline);
    this.#waiting.delete(id);
    // The client must hear of the stream before it hears in it.
    queueMicrotask(() => this.#onPair({ ...pair, error, data }));
    return true;
  }

  [Symbol.dispose](): void {
    for (const { deadline } of this.#waiting.values()) clearTimeout(deadline);
    this.#waiting.clear();
  }

  #begin(id: string, port: number): Pair {
    const deadline = setTimeout(() => void this.#giveUp(id), limits.criStreamCreationMs).unref();
    const pair: Pair = { port, deadline };
    this.#waiting.set(id, pair);
    return pair;
  }

  /** The other half of a stream that was reset has nothing to wait for. */
  #drop(id: string, pair: Pair): void {
    if (this.#waiting.get(id) !== pair) return;
    clearTimeout(pair.deadline);
    this.#waiting.delete(id);
  }

  async #giveUp(id: string): Promise<void> {
    const pair = this.#waiting.get(id);
    this.#waiting.delete(id);
    await pair?.error?.write(Buffer.from(`(request ${id}) timed out waiting for streams`)).catch(() => {});
    for (const stream of [pair?.error, pair?.data]) {
      stream?.incoming.abandon();
      stream?.close();
    }
  }
}

/** Clients of Kubernetes 1.0 send none: their data stream comes right after its error stream. */
const requestIdOf = ({ headers, id }: SpdyStream, type: 'error' | 'data'): string =>
  headers.get('requestid') ?? String(type === 'error' ? id : id - 2);

function parsePort(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}
