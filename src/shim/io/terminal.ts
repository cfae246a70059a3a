/**
 * The relay between a container's terminal and its client: master of the pty on one side, FIFOs or log targets on the
 * other. The only output that passes through the shim.
 *
 * Back-pressure goes both ways: a client that does not read fills its FIFO, then the pty, and then only its own
 * container waits. `drained` resolves when everything that was written to the terminal has been passed on, which is
 * when no process has it open any more (EIO, pty(7)). Our writing end of the client's FIFO is closed then: a client
 * may read to the end before it deletes the process.
 */
import { createWriteStream, writeSync } from 'node:fs';
import { type Readable, Writable } from 'node:stream';
import { setTimeout as after } from 'node:timers/promises';
import { ReadStream } from 'node:tty';
import { raceTime } from '../../base/bounded-wait.ts';
import { failedPrecondition } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { isErrno } from '../../platform/errno.ts';
import type { Platform, TerminalSize } from '../../platform/platform.ts';
import { pipeReader, pipeWriter } from '../../wire/pipe.ts';
import type { Attachments } from './attachments.ts';
import { Descriptors } from './descriptors.ts';
import { openInput, openOutput } from './fifo.ts';
import { LogBinary, type Owner } from './log-binary.ts';
import { parseCriTarget, parseOutput } from './log-uri.ts';
import { type IoPaths, openAppend } from './stdio.ts';
import { TerminalLog } from './terminal-log.ts';

/** How long to wait before a full pty is tried again; grows up to the last. */
const retryMs = [1, 2, 5, 10, 20, 50] as const;

export interface TerminalDependencies {
  readonly platform: Pick<Platform, 'files' | 'processes' | 'terminals'>;
  readonly log: Logger;
  /** Clients of a terminal whose output is a `cri:` URI. */
  readonly attachments?: Attachments | undefined;
}

export class Terminal implements AsyncDisposable {
  readonly #platform: TerminalDependencies['platform'];
  readonly #log: Logger;
  readonly #fds = new Descriptors();
  #sink: Writable | undefined;
  #input: Readable | undefined;
  #inputKeepFd: number | undefined;
  #logger: LogBinary | undefined;
  readonly #attachments: Attachments | undefined;
  #relayedLog: TerminalLog | undefined;
  #master: ReadStream | undefined;
  #masterFd = -1;
  #relayed: Promise<void> = Promise.resolve();

  private constructor({ platform, log, attachments }: TerminalDependencies) {
    this.#platform = platform;
    this.#log = log;
    this.#attachments = attachments;
  }

  /** Opens the client's side; `attach` brings the pty. Errors: as openStdio. */
  static async open(dependencies: TerminalDependencies, io: IoPaths, owner: Owner): Promise<Terminal> {
    const terminal = new Terminal(dependencies);
    try {
      await terminal.#openOutput(io.stdout, owner);
      if (io.stdin !== '' && parseCriTarget(io.stdin) === undefined) terminal.#openInput(io.stdin);
      return terminal;
    } catch (error) {
      await terminal[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Takes `masterFd` over and starts to relay. */
  attach(masterFd: number): void {
    // A program that does not read its terminal must not stop the shim in a write.
    this.#platform.terminals.setNonBlocking(masterFd);
    this.#masterFd = masterFd;
    const master = new ReadStream(masterFd);
    this.#master = master;
    this.#relayed = this.#relayOutput(master).catch((error: unknown) => {
      this.#log.warn({ error }, 'terminal output was cut');
    });
    if (this.#input !== undefined) this.#relayInput(this.#input, master);
    this.#attachments?.setInput({
      write: async (bytes) => {
        await this.#writeMaster(bytes, master);
      },
      // A terminal has no end of input but what its program takes for it.
      close: () => {},
    });
  }

  /** Errors: FailedPrecondition without a log of ours; of the file system. */
  reopen(): void {
    if (this.#relayedLog === undefined)
      throw failedPrecondition('the terminal has no log that could be opened anew');
    this.#relayedLog.reopen();
  }

  resize(size: TerminalSize): void {
    if (this.#master !== undefined && !this.#master.destroyed)
      this.#platform.terminals.resize(this.#masterFd, size);
  }

  closeStdin(): void {
    this.#fds.close(this.#inputKeepFd);
  }

  /** Everything written to the terminal has been passed on, or `timeoutMs` have gone by. */
  async drained(timeoutMs: number): Promise<void> {
    await raceTime(this.#relayed, timeoutMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#input?.destroy();
    this.#master?.destroy();
    this.#sink?.destroy();
    await this.#relayed;
    this.#fds[Symbol.dispose]();
    await this.#logger?.[Symbol.asyncDispose]();
  }

  async #openOutput(stdout: string, owner: Owner): Promise<void> {
    const target = parseOutput(stdout);
    switch (target.kind) {
      case 'null':
        this.#sink = new Writable({ write: (_chunk, _encoding, done) => done() });
        break;
      case 'fifo':
        this.#sink = await this.#fifoSink(target.path);
        break;
      case 'cri':
        this.#relayedLog = new TerminalLog({ log: this.#log, attachments: this.#attachments }, target);
        this.#sink = this.#relayedLog.sink;
        break;
      case 'file':
        this.#sink = createWriteStream('', { fd: openAppend(target.path, { create: true }) });
        break;
      case 'binary':
        this.#logger = await LogBinary.start(this.#platform, target, owner);
        this.#sink = pipeWriter(this.#logger.takeStdout());
        this.#logger.releaseWriters();
        break;
    }
    // Kept from ending the process; the relay sees the failure at its next write.
    this.#sink.on('error', (error) => this.#log.warn({ error, stdout }, 'terminal output cannot be written'));
  }

  async #fifoSink(path: string): Promise<Writable> {
    if (this.#platform.files.lstat(path).kind !== 'fifo')
      return createWriteStream('', { fd: openAppend(path, { create: false }) });
    const ends = await openOutput(this.#platform.files, path, 'shim');
    this.#fds.own(ends.keepFd);
    return pipeWriter(ends.writeFd);
  }

  #openInput(path: string): void {
    const { readFd, keepFd } = openInput(this.#platform.files, path, 'shim');
    this.#inputKeepFd = this.#fds.own(keepFd);
    this.#input = pipeReader(readFd);
    this.#input.pause();
    this.#input.on('error', (error) => this.#log.warn({ error }, 'terminal input cannot be read'));
  }

  async #relayOutput(master: ReadStream): Promise<void> {
    const sink = this.#sink as Writable;
    try {
      for await (const chunk of master) await writeTo(sink, chunk as Buffer);
    } catch (error) {
      // The other side of the pty is closed by all: its end of file.
      if (!isErrno(error, 'EIO') && !sink.destroyed) throw error;
    } finally {
      // Nothing is left in it: each chunk has left us when its write is done.
      sink.destroy();
    }
  }

  #relayInput(input: Readable, master: ReadStream): void {
    const relay = async (): Promise<void> => {
      for await (const chunk of input) {
        if (!(await this.#writeMaster(chunk as Buffer, master))) return;
      }
    };
    relay().catch((error: unknown) => this.#log.debug({ error }, 'terminal input ended'));
  }

  /** False when the terminal is gone. */
  async #writeMaster(chunk: Uint8Array, master: ReadStream): Promise<boolean> {
    let offset = 0;
    let attempt = 0;
    while (offset < chunk.length) {
      if (master.destroyed) return false;
      try {
        offset += writeSync(this.#masterFd, chunk, offset);
        attempt = 0;
      } catch (error) {
        if (isErrno(error, 'EIO')) return false;
        if (!isErrno(error, 'EAGAIN')) throw error;
        await after(retryMs[Math.min(attempt, retryMs.length - 1)]);
        attempt += 1;
      }
    }
    return true;
  }
}

/** Resolves when the chunk is out of our hands; a stream that was destroyed ends it. */
function writeTo(sink: Writable, chunk: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    sink.write(chunk, (error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}
