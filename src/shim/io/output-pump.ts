/**
 * One output of a process from its pipe to the log and the attached clients: in batches, of which each has one time and
 * one write, so that a line is never torn by one of the other output. Without a log the output is drained all the same.
 */
import { closeSync } from 'node:fs';
import type { Logger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import type { PipeOperations, PipeWatch } from '../../platform/platform.ts';
import type { Attachments } from './attachments.ts';
import type { CriLog } from './cri-log.ts';
import { formatLines, lineHeads, type OutputName } from './log-lines.ts';
import {
  type JournalRecord,
  OutputMemory,
  type OutputSource,
  OutputSpool,
  viewBytes,
} from './output-spool.ts';

/** Before others of the process get their turn. */
const batchesPerTurn = 2;

/** Where a log goes; `write` of the journal comes before each batch. */
export interface PumpedLog {
  readonly file: CriLog;
  readonly maxLineBytes: number;
  readonly note: (batch: Omit<JournalRecord, 'doneBytes'>) => void;
}

export interface PumpDependencies {
  readonly pipes: PipeOperations;
  readonly log: Logger;
  readonly attachments: Attachments;
  /** Called once, at the end of the output. */
  readonly onEnd: () => void;
}

export interface PumpOptions {
  readonly name: OutputName;
  readonly output: 0 | 1;
  readonly target: PumpedLog | undefined;
}

let scratch: { readonly input: Buffer; readonly output: Buffer } | undefined;

/** For the duration of a synchronous step only, and so one for all. */
export const scratchBuffers = (): NonNullable<typeof scratch> => {
  scratch ??= { input: Buffer.allocUnsafeSlow(viewBytes), output: Buffer.allocUnsafeSlow(viewBytes * 2) };
  return scratch;
};

export class OutputPump implements Disposable {
  readonly #dependencies: PumpDependencies;
  readonly #options: PumpOptions;
  readonly #fd: number;
  readonly #watch: PipeWatch;
  #source: OutputSource;
  #isOver = false;
  #isScheduled = false;
  #onEmpty: (() => void)[] = [];

  /** Takes `fd` and `source` over. */
  constructor(
    dependencies: PumpDependencies,
    { fd, source }: { readonly fd: number; readonly source: OutputSource },
    options: PumpOptions,
  ) {
    this.#dependencies = dependencies;
    this.#options = options;
    this.#fd = fd;
    this.#source = source;
    this.#watch = dependencies.pipes.watchReadable(fd, () => this.#turn());
  }

  get doneBytes(): number {
    return this.#source.doneBytes;
  }

  /** What a shim before us took and did not write comes first. */
  start(): void {
    this.#write(this.#source.view(scratchBuffers().input), false);
    this.#turn();
  }

  /** Resolves when everything that is in the pipe now has been written. */
  drained(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onEmpty.push(resolve);
      this.#turn();
    });
  }

  #turn(): void {
    if (this.#isOver || this.#isScheduled) return;
    const { attachments } = this.#dependencies;
    for (let batch = 0; batch < batchesPerTurn; batch += 1) {
      if (attachments.isFull) {
        this.#isScheduled = true;
        attachments.whenRoom(() => this.#again());
        return;
      }
      const taken = this.#fill();
      if (taken === undefined) {
        this.#isEmpty();
        this.#watch.arm();
        return;
      }
      if (taken === 0) {
        this.#end();
        return;
      }
      const view = this.#source.view(scratchBuffers().input);
      attachments.publish(this.#options.name, view.subarray(view.length - taken));
      this.#write(view, false);
    }
    this.#isScheduled = true;
    setImmediate(() => this.#again());
  }

  #again(): void {
    this.#isScheduled = false;
    this.#turn();
  }

  #fill(): number | undefined {
    const source = this.#source;
    try {
      return source.fill(this.#fd);
    } catch (error) {
      const { log } = this.#dependencies;
      if (!(source instanceof OutputSpool)) {
        log.error({ error }, 'the output of a process cannot be read any more');
        return 0;
      }
      log.warn({ error }, 'output cannot be spooled: a kill of the shim would lose some');
      this.#source = new OutputMemory(Buffer.from(source.view(scratchBuffers().input)));
      source.drop();
      source[Symbol.dispose]();
      return this.#fill();
    }
  }

  #write(view: Buffer, isLast: boolean): void {
    const { target, name, output } = this.#options;
    if (target === undefined) {
      this.#source.done(view.length);
      return;
    }
    const { file, maxLineBytes, note } = target;
    const out = scratchBuffers().output;
    const time = now();
    const heads = lineHeads(time, name);
    for (let rest = view; rest.length > 0; ) {
      const { consumedBytes, writtenBytes } = formatLines(rest, out, heads, { maxLineBytes, isLast });
      if (consumedBytes === 0) return;
      const at = file.position();
      const { inode, sizeBytes: logBytes } = at ?? { inode: 0n, sizeBytes: 0n };
      note({ output, batchBytes: consumedBytes, writtenBytes, time, inode, logBytes });
      this.#source.freeDone();
      file.append(out.subarray(0, writtenBytes), at);
      this.#source.done(consumedBytes);
      rest = rest.subarray(consumedBytes);
    }
  }

  #isEmpty(): void {
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#write(this.#source.view(scratchBuffers().input), true);
    this.#watch[Symbol.dispose]();
    closeSync(this.#fd);
    this.#source[Symbol.dispose]();
    this.#isEmpty();
    this.#dependencies.onEnd();
  }

  /** What is still in the pipe is nobody's; an unfinished line is written. */
  [Symbol.dispose](): void {
    this.#end();
  }
}
