/**
 * What the streaming server needs of the runtime, and what it gives it: bytes in both directions at the pace of the
 * slower side, whatever the client speaks.
 */
import type { NamespacedContext } from '../../base/context.ts';

/** What comes from the client. Ends when it half-closes or leaves; `ctx.signal` tells that it has left. */
export type ByteSource = AsyncIterable<Uint8Array>;

export interface ByteSink {
  /**
   * Resolves when there is room for more. One call at a time; the bytes belong to the sink. Errors: Canceled when the
   * client takes no more.
   */
  write(bytes: Uint8Array): Promise<void>;
  /** Half-closes. Idempotent, never throws. */
  close(): void;
}

/** Of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** Those that the request asked for; the server closes them when the call has settled. */
export interface CommandStreams {
  readonly stdin: ByteSource | undefined;
  readonly stdout: ByteSink | undefined;
  readonly stderr: ByteSink | undefined;
  /** The newest size whenever there is one; ends with the session. Empty without a terminal. */
  readonly resizes: AsyncIterable<TerminalSize>;
}

export interface StreamSelection {
  readonly containerId: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface CommandRequest extends StreamSelection {
  readonly cmd: readonly string[];
}

export interface ForwardRequest {
  readonly podSandboxId: string;
  readonly port: readonly number[];
}

/**
 * `ctx.signal` fires with Canceled when the client has left or the server closes; the call should then settle soon.
 * What a call throws is told to the client by its message.
 */
export interface StreamingRuntime {
  /** Runs a command to its end and all of its output; answers with its exit code. */
  exec(ctx: NamespacedContext, request: CommandRequest, streams: CommandStreams): Promise<number>;
  /** Until the container's output ends. */
  attach(ctx: NamespacedContext, request: StreamSelection, streams: CommandStreams): Promise<void>;
  /** One connection to a port of the pod, until both directions have ended or one has failed. */
  portForward(
    ctx: NamespacedContext,
    request: ForwardRequest,
    port: number,
    connection: { readonly incoming: ByteSource; readonly outgoing: ByteSink },
  ): Promise<void>;
}
