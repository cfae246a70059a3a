/** One forwarded connection over streams of any protocol: the runtime runs, a failure is told in the error stream. */
import type { NamespacedContext } from '../../base/context.ts';
import { ContainerdError } from '../../base/errors.ts';
import type { ByteSink, ByteSource, ForwardRequest, StreamingRuntime } from './streaming-runtime.ts';

export interface ForwardChannels {
  readonly incoming: ByteSource;
  readonly outgoing: ByteSink;
  readonly error: ByteSink;
}

/** Closes the channels. Never rejects. */
export async function forwardPort(
  ctx: NamespacedContext,
  { runtime }: { readonly runtime: StreamingRuntime },
  request: ForwardRequest,
  port: number,
  { incoming, outgoing, error: errorChannel }: ForwardChannels,
): Promise<void> {
  try {
    await runtime.portForward(ctx, request, port, { incoming, outgoing });
  } catch (error) {
    const pod = request.podSandboxId;
    ctx.log.debug({ error, pod, port }, 'forwarding a port failed');
    const text = `error forwarding port ${port} to pod ${pod}: ${ContainerdError.from(error).message}`;
    await errorChannel.write(Buffer.from(text)).catch(() => {});
  }
  outgoing.close();
  errorChannel.close();
}
