/** Exec and attach over SPDY: the client opens a stream for each channel, then the command runs. */
import type { Duplex } from 'node:stream';
import { raceSignal, raceTime } from '../../base/bounded-wait.ts';
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { deferred } from '../../base/deferred.ts';
import { limits } from '../../base/limits.ts';
import { type CommandCall, runRemoteCommand } from './remote-command.ts';
import { parseResizes } from './resizes.ts';
import { settle } from './settle.ts';
import { SpdyConnection } from './spdy/connection.ts';
import type { SpdyStream } from './spdy/stream.ts';
import type { StreamingRuntime, StreamSelection } from './streaming-runtime.ts';

/** The newest first. Versions: 1 and 2 alike, 3 with a resize stream, 4 with the outcome in JSON. */
export const spdyCommandProtocols = [
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
] as const;

interface Collected {
  readonly error: SpdyStream;
  readonly stdin?: SpdyStream;
  readonly stdout?: SpdyStream;
  readonly stderr?: SpdyStream;
  readonly resize?: SpdyStream;
}

/** Until the command has ended and the client knows, or has left. */
export async function serveSpdyCommand(
  ctx: NamespacedContext,
  { runtime, socket }: { readonly runtime: StreamingRuntime; readonly socket: Duplex },
  call: CommandCall,
  { protocol }: { readonly protocol: string },
): Promise<void> {
  const streams = new Map<string, SpdyStream>();
  const complete = deferred();
  const expected = expectedStreams(call.request, protocol);
  const onStream = (stream: SpdyStream): boolean => {
    const type = stream.headers.get('streamtype') ?? '';
    if (!expected.has(type) || streams.has(type)) return false;
    streams.set(type, stream);
    if (streams.size === expected.size) complete.resolve();
    return true;
  };
  const connection = new SpdyConnection({ socket, log: ctx.log, onStream });
  const running = connection.run();
  const called = withSignal(ctx, connection.signal);
  try {
    const opened = await raceTime(raceSignal(complete.promise, called.signal), limits.criStreamCreationMs);
    if (opened === undefined) {
      ctx.log.info({ open: [...streams.keys()] }, 'the client did not open all streams that it asked for');
      return;
    }
    const collected = Object.fromEntries(streams) as unknown as Collected;
    const { error, stdin, stdout, stderr, resize } = collected;
    await runRemoteCommand(
      called,
      { runtime },
      call,
      {
        error,
        stdin: stdin?.incoming,
        stdout,
        stderr,
        resizes: parseResizes(resize?.incoming),
      },
      { structured: protocol.startsWith('v4.') },
    );
  } finally {
    for (const stream of streams.values()) stream.incoming.abandon();
    await settle(connection, running);
  }
}

function expectedStreams(
  { stdin, stdout, stderr, tty }: StreamSelection,
  protocol: string,
): ReadonlySet<string> {
  const resizable = protocol.startsWith('v4.') || protocol.startsWith('v3.');
  return new Set([
    'error',
    ...(stdin ? ['stdin'] : []),
    ...(stdout ? ['stdout'] : []),
    ...(stderr ? ['stderr'] : []),
    ...(tty && resizable ? ['resize'] : []),
  ]);
}
