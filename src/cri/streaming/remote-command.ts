/** Exec and attach over streams of any protocol: the runtime runs, then the outcome is told in the error channel. */
import type { NamespacedContext } from '../../base/context.ts';
import { detached, encodeStatus, exited, failed, type RemoteStatus } from './outcome.ts';
import type {
  ByteSink,
  CommandRequest,
  CommandStreams,
  StreamingRuntime,
  StreamSelection,
} from './streaming-runtime.ts';

export type CommandCall =
  | { readonly kind: 'exec'; readonly request: CommandRequest }
  | { readonly kind: 'attach'; readonly request: StreamSelection };

export interface RemoteChannels extends CommandStreams {
  readonly error: ByteSink;
}

/** Closes the channels. `structured` for JSON in the error channel. Never rejects. */
export async function runRemoteCommand(
  ctx: NamespacedContext,
  { runtime }: { readonly runtime: StreamingRuntime },
  call: CommandCall,
  { error: errorChannel, ...streams }: RemoteChannels,
  options: { readonly structured: boolean },
): Promise<void> {
  const status = await outcomeOf(ctx, runtime, call, streams);
  streams.stdout?.close();
  streams.stderr?.close();
  const encoded = encodeStatus(status, options);
  if (encoded.byteLength > 0)
    await errorChannel
      .write(encoded)
      .catch((error: unknown) => ctx.log.debug({ error }, 'the client did not wait for the outcome'));
  errorChannel.close();
}

async function outcomeOf(
  ctx: NamespacedContext,
  runtime: StreamingRuntime,
  call: CommandCall,
  streams: CommandStreams,
): Promise<RemoteStatus> {
  try {
    if (call.kind === 'exec') return exited(call.request, await runtime.exec(ctx, call.request, streams));
    await runtime.attach(ctx, call.request, streams);
    return detached();
  } catch (error) {
    ctx.log.debug({ error, container: call.request.containerId }, `${call.kind} failed`);
    const doing =
      call.kind === 'exec' ? 'error executing command in container' : 'error attaching to container';
    return failed(doing, error);
  }
}
