/**
 * A process in the foreground: our terminal is its terminal, our streams its streams, our signals its signals.
 * Ends with the process, or when Ctrl-P Ctrl-Q is typed.
 */
import { type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { limits } from '../base/limits.ts';
import type { Process, ProcessStreams } from '../client/index.ts';
import { hasCode } from '../client/index.ts';
import type { Surroundings } from './app.ts';
import { DetachKeys } from './detach-keys.ts';
import { signalNumber } from './signals.ts';

export interface SessionDependencies {
  readonly around: Surroundings;
  readonly process: Process;
  readonly streams: ProcessStreams;
  /** Asked for before the process was started. */
  readonly exited: Promise<{ readonly exitStatus: number }>;
}

export type SessionEnd = { readonly kind: 'exited'; readonly status: number } | { readonly kind: 'detached' };

const forwarded: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
];

export async function runSession(dependencies: SessionDependencies): Promise<SessionEnd> {
  const { around, process, streams, exited } = dependencies;
  const { terminal } = streams.paths;
  using held = new DisposableStack();
  held.use(around.onSignals(forwarded, (signal) => void forward(process, signal)));
  if (terminal) {
    held.use(rawTerminal(around.stdin));
    held.use(followSize(around, process));
  }
  const outputs = [copyOut(streams.stdout, around.stdout), copyOut(streams.stderr, around.stderr)];
  const detached = Promise.withResolvers<SessionEnd>();
  held.use(copyIn(dependencies, () => detached.resolve({ kind: 'detached' })));
  const ended = exited.then(({ exitStatus }): SessionEnd => ({ kind: 'exited', status: exitStatus }));
  const end = await Promise.race([ended, detached.promise]);
  if (end.kind === 'exited') await streams.drained(limits.cliDrainMs);
  streams.leave();
  await Promise.all(outputs);
  return end;
}

/** A signal that comes when the process has just ended is nobody's. */
async function forward(process: Process, signal: NodeJS.Signals): Promise<void> {
  try {
    await process.kill(signalNumber(signal));
  } catch (error) {
    if (!hasCode(error, 'NotFound')) globalThis.process.emitWarning(error as Error);
  }
}

function rawTerminal(stdin: NodeJS.ReadStream): Disposable {
  if (!stdin.isTTY) return { [Symbol.dispose]: () => {} };
  stdin.setRawMode(true);
  return { [Symbol.dispose]: () => void stdin.setRawMode(false) };
}

function followSize({ stdout }: Surroundings, process: Process): Disposable {
  const resize = (): void => {
    if (!stdout.isTTY) return;
    // A size is a courtesy; a process that has ended has none.
    process.resize({ columns: stdout.columns, rows: stdout.rows }).catch(() => undefined);
  };
  resize();
  stdout.on('resize', resize);
  return { [Symbol.dispose]: () => void stdout.off('resize', resize) };
}

async function copyOut(from: Readable | undefined, to: Writable): Promise<void> {
  if (from === undefined) return;
  try {
    await pipeline(from, to, { end: false });
  } catch (error) {
    // Closed by us when the session ends.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}

/** Copies what is typed until disposed; at its end the process's stdin is closed. */
function copyIn({ around, process, streams }: SessionDependencies, detach: () => void): Disposable {
  const { stdin } = around;
  const target = streams.stdin;
  if (target === undefined) return { [Symbol.dispose]: () => {} };
  const keys = streams.paths.terminal ? new DetachKeys() : undefined;
  const onData = (typed: Buffer): void => {
    const { forward: bytes, detached } = keys?.feed(typed) ?? { forward: typed, detached: false };
    if (!target.write(bytes)) {
      stdin.pause();
      target.once('drain', () => stdin.resume());
    }
    if (detached) detach();
  };
  const onEnd = (): void => {
    target.end(() => {
      target.destroy();
      process.closeStdin().catch(() => undefined);
    });
  };
  stdin.on('data', onData);
  stdin.once('end', onEnd);
  return {
    [Symbol.dispose]: () => {
      stdin.off('data', onData);
      stdin.off('end', onEnd);
      stdin.pause();
    },
  };
}
