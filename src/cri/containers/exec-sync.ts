/**
 * ExecSync: a command in a running container, to its end, with what it printed: 16 MiB of each stream, the rest is read
 * and dropped. Whatever happens, the process, its FIFOs and their directory are gone afterwards.
 *
 * Differs from containerd: children that keep the pipes open hold the answer up no longer than `drainMs`.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { raceSignal, raceTime } from '../../base/bounded-wait.ts';
import { type Context, forCleanup, type NamespacedContext, withTimeout } from '../../base/context.ts';
import { deadlineExceeded, failedPrecondition, hasCode, invalidArgument } from '../../base/errors.ts';
import { type ExecId, parseExecId } from '../../base/identifiers.ts';
import { asObject } from '../../oci/json.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { jsonTypeUrls, packJson, unpackJson } from '../../wire/any.ts';
import { ContainerState } from '../../wire/gen/runtime/v1/container_pb.js';
import { pipeReader, pipeWriter } from '../../wire/pipe.ts';
import { inCri } from '../cri-context.ts';
import { newId } from '../pods/id-index.ts';
import { type CriWorld, requireContainer, undoMs, unlessAbsent } from '../pods/world.ts';
import { type CriContainer, stateOf } from './container.ts';

const outputBytesMax = 16 * 1024 * 1024;
/** Where the settings give none. */
const drainMs = 10_000;

export interface ExecSyncResult {
  readonly stdout: Uint8Array<ArrayBuffer>;
  readonly stderr: Uint8Array<ArrayBuffer>;
  readonly exitCode: number;
}

/** `timeout` in seconds, 0 for none. Errors: NotFound, FailedPrecondition (not running), DeadlineExceeded. */
export async function execSync(
  world: CriWorld,
  context: Context,
  { containerId, cmd, timeout }: { containerId: string; cmd: readonly string[]; timeout: bigint },
): Promise<ExecSyncResult> {
  const container = requireContainer(world, containerId);
  const state = stateOf(container.progress);
  if (state !== ContainerState.CONTAINER_RUNNING)
    throw failedPrecondition(`container ${container.id} is in ${ContainerState[state]} state`);
  if (cmd.length === 0) throw invalidArgument('a command must be given');
  const ctx = inCri(context);
  await using resources = new AsyncDisposableStack();
  const parent = join(world.stateDir, 'exec');
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const directory = mkdtempSync(join(parent, 'sync-'));
  resources.defer(() => rmSync(directory, { recursive: true, force: true }));
  const [out, err] = ['stdout', 'stderr'].map((name) =>
    resources.use(new Output(world.platform.files, join(directory, name))),
  ) as [Output, Output];
  const execId = parseExecId(newId());
  const process = packJson(
    jsonTypeUrls.process,
    await execProcess(world, ctx, container, { args: cmd, terminal: false }),
  );
  const io = { stdin: '', stdout: out.path, stderr: err.path, terminal: false };
  await world.tasks.exec(ctx, container.id, execId, process, io);
  const running = { container, execId, timeoutMs: Number(timeout) * 1000, out, err, ended: false };
  resources.defer(() => takeAway(world, ctx, running));
  const exitCode = await runToEnd(world, ctx, running);
  const limitMs = world.settings.pods.drainExecSyncMs || drainMs;
  await raceTime(raceSignal(Promise.all([out.ended, err.ended]), ctx.signal), limitMs);
  return { stdout: out.bytes(), stderr: err.bytes(), exitCode };
}

interface Running {
  readonly container: CriContainer;
  readonly execId: ExecId;
  readonly timeoutMs: number;
  readonly out: Output;
  readonly err: Output;
  ended: boolean;
}

async function runToEnd(world: CriWorld, ctx: NamespacedContext, running: Running): Promise<number> {
  const { container, execId, timeoutMs, out, err } = running;
  const target = { containerId: container.id, execId };
  const bounded = timeoutMs > 0 ? withTimeout(ctx, timeoutMs) : ctx;
  await world.tasks.start(ctx, target);
  out.release();
  err.release();
  try {
    const { exitStatus } = await world.tasks.wait(bounded, target);
    running.ended = true;
    return exitStatus;
  } catch (error) {
    if (hasCode(error, 'DeadlineExceeded') && !ctx.signal.aborted)
      throw deadlineExceeded(`timeout ${timeoutMs / 1000}s exceeded: context deadline exceeded`, error);
    throw error;
  }
}

/** The container's own process, with other words. */
export async function execProcess(
  { records }: CriWorld,
  ctx: NamespacedContext,
  { id }: CriContainer,
  words: { readonly args: readonly string[]; readonly terminal: boolean },
): Promise<object> {
  const { spec } = await records.get(ctx, id);
  if (spec === undefined) throw failedPrecondition(`container ${id} has no spec`);
  const document = asObject(unpackJson(jsonTypeUrls.spec, spec), `spec of container ${id}`);
  const process = asObject(document['process'] ?? {}, `process of container ${id}`);
  return { ...process, ...words };
}

async function takeAway(
  world: CriWorld,
  called: NamespacedContext,
  { container: { id }, execId, ended }: Running,
): Promise<void> {
  const ctx = forCleanup(called, undoMs);
  const target = { containerId: id, execId };
  if (!ended && (await unlessAbsent(world.tasks.state(ctx, target)))?.status === 'running') {
    await unlessAbsent(world.tasks.kill(ctx, target, SIGKILL, { all: false }));
    await unlessAbsent(world.tasks.wait(ctx, target));
  }
  await unlessAbsent(world.tasks.deleteProcess(ctx, id, execId));
}

/** A FIFO that is read from before the process has it; `release` once it does, so that its end is seen. */
class Output implements Disposable {
  readonly path: string;
  readonly ended: Promise<void>;
  readonly #reader: Readable;
  readonly #chunks: Buffer[] = [];
  readonly #held: { destroy(): unknown };
  #size = 0;

  constructor(files: Pick<FileOperations, 'makeFifo' | 'openFifo'>, path: string) {
    this.path = path;
    files.makeFifo(path, 0o600);
    this.#reader = pipeReader(files.openFifo(path, 'read', { nonBlocking: true }));
    this.#held = pipeWriter(files.openFifo(path, 'write', { nonBlocking: true }));
    this.ended = new Promise((resolve) => {
      this.#reader.once('close', resolve);
      this.#reader.once('error', () => resolve());
    });
    this.#reader.on('data', (chunk: Buffer) => {
      const room = outputBytesMax - this.#size;
      if (room <= 0) return;
      const taken = chunk.subarray(0, room);
      this.#size += taken.byteLength;
      this.#chunks.push(taken);
    });
  }

  release(): void {
    this.#held.destroy();
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(Buffer.concat(this.#chunks));
  }

  [Symbol.dispose](): void {
    this.#held.destroy();
    this.#reader.destroy();
  }
}
