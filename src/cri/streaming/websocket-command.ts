/** Exec and attach over a WebSocket: channels 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize. */
import type { Duplex } from 'node:stream';
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { type CommandCall, runRemoteCommand } from './remote-command.ts';
import { parseResizes } from './resizes.ts';
import { settle } from './settle.ts';
import type { StreamingRuntime } from './streaming-runtime.ts';
import { WebSocketConnection } from './websocket/connection.ts';

/** With half close from version 5 on, which containerd does not speak. */
export const webSocketCommandProtocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'base64.channel.k8s.io',
  'channel.k8s.io',
  '',
] as const;

/** Until the command has ended and the client knows, or has left. */
export async function serveWebSocketCommand(
  ctx: NamespacedContext,
  { runtime, socket }: { readonly runtime: StreamingRuntime; readonly socket: Duplex },
  call: CommandCall,
  { protocol }: { readonly protocol: string },
): Promise<void> {
  const connection = new WebSocketConnection(
    { socket, log: ctx.log },
    { base64: protocol.includes('base64.'), halfClose: protocol.startsWith('v5.') },
  );
  const { tty, ...wanted } = call.request;
  const stdin = wanted.stdin ? connection.source(0) : undefined;
  const resize = tty ? connection.source(4) : undefined;
  const stdout = wanted.stdout ? connection.sink(1) : undefined;
  const stderr = wanted.stderr ? connection.sink(2) : undefined;
  const error = connection.sink(3);
  const running = connection.run();
  try {
    // The client may begin.
    await (stdout ?? stderr ?? error).write(new Uint8Array());
    await runRemoteCommand(
      withSignal(ctx, connection.signal),
      { runtime },
      call,
      { error, stdin, stdout, stderr, resizes: parseResizes(resize) },
      { structured: /^v[45]\./.test(protocol) },
    );
  } finally {
    stdin?.abandon();
    resize?.abandon();
    await settle(connection, running);
  }
}
