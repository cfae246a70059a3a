/**
 * The streams of a process whose output goes to a `cri:` URI: FIFOs in its own directory in the bundle, which outlive the
 * shim as long as the process does, and from which this shim or the next one pumps.
 *
 * The process gets ends that read as well, so that it does not die by SIGPIPE while no shim is there. Its stdin is such
 * an end too when it stays open over clients that come and go; then CloseIO has no effect. The daemon holds the pipes of
 * init as well. So what is in a pipe (256 KiB at most) is lost only when the process ends while neither is there, and
 * of an exec, when it ends while no shim is there.
 */
import { fchownSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { raceTime } from '../../base/bounded-wait.ts';
import { failedPrecondition } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Platform, StdioTarget } from '../../platform/platform.ts';
import { pipeWriter } from '../../wire/pipe.ts';
import type { Attachments, ProcessInput } from './attachments.ts';
import { CriLog } from './cri-log.ts';
import { Descriptors } from './descriptors.ts';
import type { OutputName } from './log-lines.ts';
import { finishBatch } from './log-recovery.ts';
import { type CriTarget, parseCriTarget } from './log-uri.ts';
import { OutputPump, type PumpedLog, scratchBuffers } from './output-pump.ts';
import { LogJournal, OutputMemory, type OutputSource, OutputSpool } from './output-spool.ts';
import type { IoOwner, IoPaths, ProcessStdio } from './stdio.ts';

const pipeBytes = 256 * 1024;
const outputs = ['stdout', 'stderr'] as const;

export interface RelayDependencies {
  readonly platform: Pick<Platform, 'files' | 'pipes'>;
  readonly log: Logger;
  readonly attachments: Attachments;
}

export interface RelayOptions {
  /** Of the process alone. */
  readonly directory: string;
  readonly target: CriTarget;
  readonly io: IoPaths;
  /** Nothing that writes outlives the process: its end is that of the output, whoever has the pipes open. */
  readonly endsWithProcess: boolean;
}

export class RelayedStdio implements ProcessStdio {
  readonly childFds: StdioTarget[] = ['null', 'null', 'null'];
  readonly lateOutputs = [];
  readonly logProgram = undefined;
  readonly #dependencies: RelayDependencies;
  readonly #options: RelayOptions;
  readonly #fds = new Descriptors();
  readonly #childOnly: number[] = [];
  readonly #pumps: OutputPump[] = [];
  #file: CriLog | undefined;
  #journal: LogJournal | undefined;
  #input: PipeInput | undefined;
  #running = 0;
  #hasEnded = false;

  private constructor(dependencies: RelayDependencies, options: RelayOptions) {
    this.#dependencies = dependencies;
    this.#options = options;
  }

  /** For a process to come. Errors: of the file system. */
  static open(dependencies: RelayDependencies, options: RelayOptions, ioOwner: IoOwner): RelayedStdio {
    const stdio = new RelayedStdio(dependencies, options);
    try {
      // What an earlier start left is no output of this one.
      rmSync(options.directory, { recursive: true, force: true });
      mkdirSync(options.directory, { recursive: true, mode: 0o700 });
      stdio.#openLog();
      for (const name of wanted(options.io)) stdio.#makeOutput(name, ioOwner);
      if (options.io.stdin !== '') stdio.#makeInput(ioOwner);
      return stdio;
    } catch (error) {
      stdio.#close();
      throw error;
    }
  }

  /** For a process of a shim before us, which may have ended. Never fails: what cannot be had is told to the log. */
  static adopt(
    dependencies: RelayDependencies,
    options: RelayOptions & { readonly stdinClosed: boolean },
  ): RelayedStdio {
    const stdio = new RelayedStdio(dependencies, options);
    try {
      stdio.#adopt(options.stdinClosed);
    } catch (error) {
      const { directory } = options;
      dependencies.log.error({ error, directory }, 'the output of a process cannot be taken over');
    }
    return stdio;
  }

  releaseChild(): void {
    this.#fds.closeEach(this.#childOnly);
    this.#start();
  }

  closeStdin(): void {
    this.#input?.close();
  }

  ended(): void {
    this.#hasEnded = true;
    this.#input?.close();
  }

  /** Everything that the process has written is in the log, or the time is up. */
  async drained(timeoutMs: number): Promise<void> {
    const passed = this.#pumps.map(async (pump) => {
      await pump.drained();
      if (this.#hasEnded && this.#options.endsWithProcess) pump[Symbol.dispose]();
    });
    await raceTime(Promise.all(passed), timeoutMs);
  }

  /** Errors: FailedPrecondition without a log; of the file system. */
  reopen(): void {
    if (this.#file === undefined)
      throw failedPrecondition('the process has no log that could be opened anew');
    this.#file.reopen();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  #close(): void {
    for (const pump of this.#pumps) pump[Symbol.dispose]();
    this.#dependencies.attachments.end();
    this.#input?.close();
    this.#journal?.[Symbol.dispose]();
    this.#file?.[Symbol.dispose]();
    this.#journal = undefined;
    this.#file = undefined;
    this.#fds[Symbol.dispose]();
  }

  #openLog(): void {
    const { path } = this.#options.target;
    if (path === '') return;
    this.#file = new CriLog(this.#dependencies, path);
    this.#file.reopen();
    this.#journal = new LogJournal(this.#path('journal'));
  }

  #makeOutput(name: OutputName, ioOwner: IoOwner): void {
    const { files } = this.#dependencies.platform;
    files.makeFifo(this.#path(name), 0o600);
    const fd = files.openFifo(this.#path(name), 'read', { nonBlocking: true });
    this.#addPump(name, fd, 0);
    const childFd = this.#fds.own(files.openFifo(this.#path(name), 'read-write', { nonBlocking: false }));
    this.childFds[outputs.indexOf(name) + 1] = childFd;
    this.#giveTo(childFd, ioOwner);
  }

  #makeInput(ioOwner: IoOwner): void {
    const { files } = this.#dependencies.platform;
    const path = this.#path('stdin');
    files.makeFifo(path, 0o600);
    // Opening for both directions never waits, and lets the other two through.
    using both = new Descriptors();
    both.own(files.openFifo(path, 'read-write', { nonBlocking: true }));
    const access = this.#inputEnds ? 'read' : 'read-write';
    const childFd = this.#fds.own(files.openFifo(path, access, { nonBlocking: false }));
    this.childFds[0] = childFd;
    this.#giveTo(childFd, ioOwner);
    this.#openInput();
  }

  get #inputEnds(): boolean {
    return parseCriTarget(this.#options.io.stdin)?.once === true;
  }

  #openInput(): void {
    const { platform, attachments } = this.#dependencies;
    const fd = platform.files.openFifo(this.#path('stdin'), 'write', { nonBlocking: true });
    this.#input = new PipeInput(pipeWriter(fd));
    attachments.setInput(this.#input);
  }

  #giveTo(fd: number, { uid, gid }: IoOwner): void {
    this.#childOnly.push(fd);
    if (uid !== 0 || gid !== 0) fchownSync(fd, uid, gid);
  }

  /** Takes `fd` over. */
  #addPump(name: OutputName, fd: number, doneBytes: number): void {
    const { platform, log, attachments } = this.#dependencies;
    platform.pipes.setCapacity(fd, pipeBytes);
    const target = this.#pumpedLog();
    const source: OutputSource =
      target === undefined
        ? new OutputMemory()
        : new OutputSpool(platform.pipes, this.#path(`${name}.spool`), doneBytes);
    const onEnd = (): void => {
      this.#running -= 1;
      if (this.#running === 0) attachments.end();
    };
    this.#running += 1;
    const pump = new OutputPump(
      { pipes: platform.pipes, log, attachments, onEnd },
      { fd, source },
      { name, output: name === 'stdout' ? 0 : 1, target },
    );
    this.#pumps.push(pump);
  }

  #pumpedLog(): PumpedLog | undefined {
    const file = this.#file;
    if (file === undefined) return undefined;
    return {
      file,
      maxLineBytes: this.#options.target.maxLineBytes,
      note: (batch) => {
        try {
          const [first, second] = this.#pumps;
          const doneBytes = [first?.doneBytes ?? 0, second?.doneBytes ?? 0] as const;
          this.#journal?.write({ ...batch, doneBytes });
        } catch (error) {
          this.#dependencies.log.warn({ error }, 'a batch of output is not noted for a later shim');
        }
      },
    };
  }

  #start(): void {
    if (this.#pumps.length === 0) this.#dependencies.attachments.end();
    for (const pump of this.#pumps) pump.start();
  }

  #adopt(stdinClosed: boolean): void {
    const { log, platform } = this.#dependencies;
    const { io, target } = this.#options;
    const doneBytes = target.path === '' ? [0, 0] : this.#adoptLog();
    for (const [index, name] of wanted(io).entries()) {
      const fd = platform.files.openFifo(this.#path(name), 'read', { nonBlocking: true });
      this.#addPump(name, fd, doneBytes[index] ?? 0);
    }
    this.#start();
    if (io.stdin === '' || stdinClosed) return;
    try {
      this.#openInput();
    } catch (error) {
      log.debug({ error }, 'the stdin of a process is read by nobody');
      this.#dependencies.attachments.setInput(undefined);
    }
  }

  /** What was done of each spool, after what was in flight has been finished. */
  #adoptLog(): number[] {
    const { log, platform } = this.#dependencies;
    const { target } = this.#options;
    const file = new CriLog(this.#dependencies, target.path);
    this.#file = file;
    this.#journal = new LogJournal(this.#path('journal'));
    try {
      file.reopen();
    } catch (error) {
      log.error(
        { error, path: target.path },
        'a container log cannot be opened: output is lost until it can',
      );
    }
    const record = this.#journal.read();
    if (record === undefined) return [0, 0];
    const name = outputs[record.output];
    const doneBytes: [number, number] = [...record.doneBytes];
    using spool = new OutputSpool(
      platform.pipes,
      this.#path(`${name}.spool`),
      record.doneBytes[record.output],
    );
    try {
      finishBatch({
        ...{ record, spool, name, log: file, maxLineBytes: target.maxLineBytes },
        scratch: scratchBuffers(),
      });
    } catch (error) {
      log.error({ error, path: target.path }, 'the last batch of a container log may be torn');
    }
    doneBytes[record.output] = record.doneBytes[record.output] + record.batchBytes;
    return doneBytes;
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }
}

/** Both, or stdout alone when there is no stderr. */
const wanted = ({ stderr }: IoPaths): readonly OutputName[] => (stderr === '' ? ['stdout'] : outputs);

class PipeInput implements ProcessInput {
  readonly #pipe: Writable;

  constructor(pipe: Writable) {
    this.#pipe = pipe;
    // The process reads no more.
    pipe.on('error', () => pipe.destroy());
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#pipe.destroyed || this.#pipe.writableEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#pipe.once('close', resolve);
      this.#pipe.write(bytes, () => {
        this.#pipe.off('close', resolve);
        resolve();
      });
    });
  }

  /** After what was written. */
  close(): void {
    this.#pipe.end(() => this.#pipe.destroy());
  }
}
