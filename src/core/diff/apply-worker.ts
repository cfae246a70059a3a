/**
 * The worker thread that unpacks one layer and is thrown away.
 *
 * It confines itself to the root first (chroot on a file system context of its own), and from then on makes
 * synchronous calls only: libuv's pool belongs to the whole process and knows nothing of the confinement. Reading a
 * lower layer, which is outside of its root, is asked of the main thread.
 */
import { createHash } from 'node:crypto';
import { type MessagePort, parentPort, receiveMessageOnPort } from 'node:worker_threads';
import type { Digest } from '../../base/digest.ts';
import { ContainerdError, codedError } from '../../base/errors.ts';
import { type LogFields, type Logger, silentLogger } from '../../base/logger.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import type { ApplyJob, LowerAnswer, LowerRequest, WorkerReport } from './apply-protocol.ts';
import { ChunkRingReader } from './chunk-ring.ts';
import { LayerFeedReader } from './layer-feed.ts';
import { LayerInflater } from './layer-inflater.ts';
import type { LowerLayers, LowerNode } from './lower-tree.ts';
import { TarReader } from './tar-reader.ts';
import { TreeWriter } from './tree-writer.ts';

/** Asks the main thread and blocks until it answers. */
class RemoteLowers implements LowerLayers {
  readonly #port: MessagePort;
  readonly #job: ApplyJob;
  readonly #answered: Int32Array;

  constructor(port: MessagePort, job: ApplyJob) {
    this.#port = port;
    this.#job = job;
    this.#answered = new Int32Array(job.answered);
  }

  lookup(components: readonly string[]): LowerNode | undefined {
    return this.#ask({ kind: 'lookup', components });
  }

  copyUp(components: readonly string[]): void {
    this.#ask({ kind: 'copy-up', components });
  }

  #ask(request: LowerRequest): LowerNode | undefined {
    const before = Atomics.load(this.#answered, 0);
    this.#port.postMessage(request);
    Atomics.wait(this.#answered, 0, before);
    const answer = receiveMessageOnPort(this.#job.answers)?.message as LowerAnswer;
    if ('error' in answer) throw codedError(answer.error.code, answer.error.message);
    return answer.node;
  }
}

function workerLog(port: MessagePort): Logger {
  const warn = (fields: LogFields, message: string): void =>
    port.postMessage({ kind: 'warning', fields, message } satisfies WorkerReport);
  return { ...silentLogger, warn, error: warn };
}

function unpack(platform: Platform, job: ApplyJob, port: MessagePort): WorkerReport {
  const hash = createHash('sha256');
  if (job.isConfined) platform.files.confineThread(job.root);
  using tree = new TreeWriter(
    { files: platform.files, log: workerLog(port) },
    {
      root: job.isConfined ? '' : job.root,
      whiteouts: job.whiteouts,
      ...(job.hasLowers ? { lowers: new RemoteLowers(port, job) } : {}),
    },
  );
  const reader = new TarReader(tree);
  const inputHash = job.inputAlgorithm === undefined ? undefined : createHash(job.inputAlgorithm);
  const progress = new Progress(port);
  using inflater = new LayerInflater(platform.inflate, job.compression, (chunk) => {
    hash.update(chunk);
    progress.add(chunk.length);
    reader.push(chunk);
  });
  inputOf(job).drain((chunk) => {
    inputHash?.update(chunk);
    inflater.push(chunk);
  });
  inflater.end();
  reader.end();
  tree.finish();
  return {
    kind: 'done',
    diffId: `sha256:${hash.digest('hex')}` as Digest,
    sizeBytes: progress.sizeBytes,
    hasRoot: tree.hasRoot,
    inputHash: inputHash?.digest('hex') ?? '',
  };
}

const inputOf = ({ input }: ApplyJob): ChunkRingReader | LayerFeedReader =>
  input.kind === 'ring' ? new ChunkRingReader(input.memory) : new LayerFeedReader(input.fd, input.memory);

/** Two reports are at least this far apart. */
const progressMs = 50;

/** Counts what was unpacked, and tells now and then. */
class Progress {
  sizeBytes = 0;
  readonly #port: MessagePort;
  #toldAtMs = performance.now();

  constructor(port: MessagePort) {
    this.#port = port;
  }

  add(bytes: number): void {
    this.sizeBytes += bytes;
    const nowMs = performance.now();
    if (nowMs - this.#toldAtMs < progressMs) return;
    this.#toldAtMs = nowMs;
    this.#port.postMessage({ kind: 'progress', sizeBytes: this.sizeBytes } satisfies WorkerReport);
  }
}

function run(platform: Platform, job: ApplyJob, port: MessagePort): void {
  let report: WorkerReport;
  try {
    report = unpack(platform, job, port);
  } catch (error) {
    const { code, message } = ContainerdError.from(error);
    report = { kind: 'failed', error: { code, message } };
  }
  port.postMessage(report);
}

const port = parentPort;
if (port === null) throw new Error('apply-worker is the entry point of a worker thread');
const platform = await selectPlatform();
port.once('message', (job: ApplyJob | undefined) => {
  if (job === undefined) return;
  run(platform, job, port);
  job.answers.close();
});
port.postMessage({ kind: 'ready' } satisfies WorkerReport);
