/**
 * What comes over the streaming server's connections: commands in containers, and clients of a container's own output.
 * The shim relays both, so a slow client holds up its own command and nobody's log.
 */
import { forCleanup, type NamespacedContext } from '../../base/context.ts';
import { failedPrecondition, unimplemented } from '../../base/errors.ts';
import { parseExecId } from '../../base/identifiers.ts';
import type { AttachedProcess } from '../../core/runtime/streams/attached-process.ts';
import type { StreamManager } from '../../core/runtime/streams/stream-manager.ts';
import type { ProcessTarget } from '../../core/runtime/task-manager.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { jsonTypeUrls, packJson } from '../../wire/any.ts';
import { ContainerState } from '../../wire/gen/runtime/v1/container_pb.js';
import { newId } from '../pods/id-index.ts';
import { type CriWorld, messageOf, requireContainer, undoMs, unlessAbsent } from '../pods/world.ts';
import type {
  CommandRequest,
  CommandStreams,
  StreamingRuntime,
  StreamSelection,
} from '../streaming/streaming-runtime.ts';
import { type CriContainer, stateOf } from './container.ts';
import { execProcess } from './exec-sync.ts';

export class ContainerStreams implements StreamingRuntime {
  readonly #world: CriWorld;
  readonly #streams: StreamManager;

  constructor({ world, streams }: { readonly world: CriWorld; readonly streams: StreamManager }) {
    this.#world = world;
    this.#streams = streams;
  }

  async exec(ctx: NamespacedContext, request: CommandRequest, streams: CommandStreams): Promise<number> {
    const container = requireRunning(this.#world, request.containerId);
    const { tasks } = this.#world;
    const execId = parseExecId(newId());
    const target = { containerId: container.id, execId };
    const process = await execProcess(this.#world, ctx, container, {
      args: request.cmd,
      terminal: request.tty,
    });
    await tasks.exec(ctx, container.id, execId, packJson(jsonTypeUrls.process, process), {
      stdin: request.stdin ? 'cri://?once' : '',
      stdout: 'cri://',
      stderr: request.tty ? '' : 'cri://',
      terminal: request.tty,
    });
    await using resources = new AsyncDisposableStack();
    resources.defer(() => this.#takeAway(ctx, target));
    const attached = await this.#streams.attach(ctx, target, { ...selected(request), lossless: true });
    resources.use(attached);
    await tasks.start(ctx, target);
    await this.#relay(ctx, target, attached, streams);
    return (await tasks.wait(ctx, target)).exitStatus;
  }

  async attach(ctx: NamespacedContext, request: StreamSelection, streams: CommandStreams): Promise<void> {
    const container = requireRunning(this.#world, request.containerId);
    const target = { containerId: container.id };
    await using attached = await this.#streams.attach(ctx, target, { ...selected(request), lossless: false });
    await this.#relay(ctx, target, attached, streams);
  }

  portForward(): Promise<void> {
    return Promise.reject(unimplemented('ports of pods cannot be forwarded yet'));
  }

  /** Until the process's output has ended, or the client has left. */
  async #relay(
    ctx: NamespacedContext,
    target: ProcessTarget,
    attached: AttachedProcess,
    { stdin, stdout, stderr, resizes }: CommandStreams,
  ): Promise<void> {
    const leave = (): void => void attached[Symbol.asyncDispose]();
    ctx.signal.addEventListener('abort', leave, { once: true });
    const quiet = (error: unknown): void =>
      ctx.log.debug({ error: messageOf(error) }, 'a stream of a command has ended early');
    if (stdin !== undefined) void pump(ctx, stdin, attached).catch(quiet);
    void this.#resize(ctx, target, resizes).catch(quiet);
    try {
      for await (const { stream, bytes } of attached.output())
        await (stream === 'stdout' ? stdout : stderr)?.write(bytes);
    } finally {
      ctx.signal.removeEventListener('abort', leave);
    }
  }

  async #resize(
    ctx: NamespacedContext,
    target: ProcessTarget,
    resizes: CommandStreams['resizes'],
  ): Promise<void> {
    for await (const { width, height } of resizes)
      await unlessAbsent(this.#world.tasks.resizePty(ctx, target, width, height));
  }

  /** A command whose client has left is killed: nobody would hear of it. */
  async #takeAway(called: NamespacedContext, target: Required<ProcessTarget>): Promise<void> {
    const ctx = forCleanup(called, undoMs);
    const { tasks } = this.#world;
    if ((await unlessAbsent(tasks.state(ctx, target)))?.status === 'running') {
      await unlessAbsent(tasks.kill(ctx, target, SIGKILL, { all: false }));
      await unlessAbsent(tasks.wait(ctx, target));
    }
    await unlessAbsent(tasks.deleteProcess(ctx, target.containerId, target.execId));
  }
}

/** Errors: NotFound, FailedPrecondition. */
export function requireRunning(world: CriWorld, text: string): CriContainer {
  const container = requireContainer(world, text);
  const state = stateOf(container.progress);
  if (state !== ContainerState.CONTAINER_RUNNING)
    throw failedPrecondition(`container ${container.id} is in ${ContainerState[state]} state`);
  return container;
}

const selected = ({ stdin, stdout, stderr }: StreamSelection) => ({ stdin, stdout, stderr });

async function pump(
  { signal }: NamespacedContext,
  stdin: AsyncIterable<Uint8Array>,
  attached: AttachedProcess,
): Promise<void> {
  for await (const bytes of stdin) await attached.write(bytes, { signal });
  attached.closeStdin();
}
