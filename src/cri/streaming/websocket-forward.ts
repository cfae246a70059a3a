/**
 * Port forwarding over a WebSocket: a data and an error channel for each port of the request, one connection each. Both
 * begin with the port, 16 bits little endian.
 */
import type { Duplex } from 'node:stream';
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { forwardPort } from './forward.ts';
import { settle } from './settle.ts';
import type { ForwardRequest, StreamingRuntime } from './streaming-runtime.ts';
import { WebSocketConnection } from './websocket/connection.ts';

export const webSocketForwardProtocols = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io', ''] as const;

/** Channels have one byte, their digit before base64 even less; 127 pairs are the most that can be told apart. */
const maxPorts = 127;

/** Until all connections have ended, or the client has left. */
export async function serveWebSocketForward(
  ctx: NamespacedContext,
  { runtime, socket }: { readonly runtime: StreamingRuntime; readonly socket: Duplex },
  request: ForwardRequest,
  { protocol }: { readonly protocol: string },
): Promise<void> {
  const connection = new WebSocketConnection(
    { socket, log: ctx.log },
    { base64: protocol.includes('base64.'), halfClose: false },
  );
  const pairs = request.port.slice(0, maxPorts).map((port, index) => ({
    port,
    incoming: connection.source(index * 2),
    outgoing: connection.sink(index * 2),
    error: connection.sink(index * 2 + 1),
  }));
  const running = connection.run();
  const called = withSignal(ctx, connection.signal);
  try {
    await Promise.all(
      pairs.map(async ({ port, ...channels }) => {
        const greeting = Uint8Array.of(port & 0xff, port >> 8);
        await channels.outgoing.write(greeting);
        await channels.error.write(greeting);
        await forwardPort(called, { runtime }, request, port, channels);
        channels.incoming.abandon();
      }),
    );
  } finally {
    for (const { incoming } of pairs) incoming.abandon();
    await settle(connection, running);
  }
}
