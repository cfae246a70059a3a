/** What commands stand on: the process around them, and the daemon they talk to. */
import { type Command, Option } from 'commander';
import { ContainerdError } from '../base/errors.ts';
import { parseNamespace } from '../base/identifiers.ts';
import { connect, type FifoMaker, type GantryClient, type RootFileReader } from '../client/index.ts';
import { isErrno } from '../platform/errno.ts';
import type { CommandResult } from '../platform/platform.ts';
import { probeUnixSocket } from '../wire/unix-probe.ts';
import { CliFailure } from './failure.ts';
import { formatJson, formatTable } from './table.ts';

/** The process around a command, so that tests can give their own. */
export interface Surroundings {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly uid: number;
  readonly version: string;
  readonly makeFifo: FifoMaker;
  readonly readRootFiles: RootFileReader;
  /** Runs `gantryd` of this installation to its end. */
  runDaemon(args: readonly string[], signal: AbortSignal): Promise<CommandResult>;
  /** Calls `handle` for each of the signals until it is disposed. */
  onSignals(signals: readonly NodeJS.Signals[], handle: (signal: NodeJS.Signals) => void): Disposable;
  nowMs(): number;
}

export type OutputFormat = 'table' | 'json';

/** What every command may be told, before or after its name. */
export interface GlobalOptions {
  readonly address: string;
  readonly namespace: string;
  readonly snapshotter: string;
  readonly output: OutputFormat;
  readonly debug: boolean;
}

export const defaultAddress = '/run/gantry/gantry.sock';

/** One run of the program. Commands set `exitCode`; 0 when they say nothing. */
export class App {
  readonly around: Surroundings;
  exitCode = 0;

  constructor(around: Surroundings) {
    this.around = around;
  }

  /** A connected client. Fails, with what to do, when nobody can be reached at the socket. */
  async connect(globals: GlobalOptions): Promise<GantryClient> {
    return connect({ address: await this.reach(globals), namespace: parseNamespace(globals.namespace) });
  }

  /** The path of the daemon's socket, somebody listening there. Fails as connect does. */
  async reach({ address }: Pick<GlobalOptions, 'address'>): Promise<string> {
    const path = address.replace(/^unix:\/\//, '');
    await probe(path);
    return path;
  }

  print(text: string): void {
    this.around.stdout.write(text);
  }

  /** Remarks that are not the answer go to stderr. */
  say(text: string): void {
    this.around.stderr.write(`${text}\n`);
  }

  /** `json` for programs, rows for people. */
  show(format: OutputFormat, json: unknown, table: { header: string[]; rows: string[][] }): void {
    this.print(format === 'json' ? formatJson(json) : formatTable(table.header, table.rows));
  }

  /** Aborted by the first SIGINT or SIGTERM; dispose gives the signals back. */
  interruption(): Disposable & { readonly signal: AbortSignal } {
    const aborter = new AbortController();
    const handler = this.around.onSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], () => aborter.abort());
    return { signal: aborter.signal, [Symbol.dispose]: () => handler[Symbol.dispose]() };
  }
}

/** `-o` on a command that prints things; the global `--output` counts too. */
export const outputOption = (): Option =>
  new Option('-o, --output <format>', 'table for people, json for programs').choices(['table', 'json']);

/** The options of a command together with those given before its name; what stands nearer wins. */
export function globalsOf(command: Command): GlobalOptions {
  const all = command.optsWithGlobals<GlobalOptions>();
  const own = command.opts<Partial<GlobalOptions>>();
  return { ...all, output: own.output ?? all.output ?? 'table' };
}

async function probe(path: string): Promise<void> {
  try {
    await probeUnixSocket(path);
  } catch (error) {
    throw unreachable(path, error);
  }
}

function unreachable(path: string, cause: unknown): CliFailure {
  const other = 'or name its socket by --address or GANTRY_ADDRESS';
  if (isErrno(cause, 'EACCES', 'EPERM'))
    return new CliFailure(`connect to the daemon at ${path}: permission denied`, {
      hint: 'run it as root, for example with sudo',
      cause,
    });
  if (isErrno(cause, 'ENOENT'))
    return new CliFailure(`connect to the daemon at ${path}: there is no such socket`, {
      hint: `start the daemon (systemctl start gantry, or gantryd as root), ${other}`,
      cause,
    });
  if (isErrno(cause, 'ECONNREFUSED'))
    return new CliFailure(`connect to the daemon at ${path}: nobody listens on this socket`, {
      hint: `the daemon has stopped: start it (systemctl start gantry, or gantryd as root), ${other}`,
      cause,
    });
  return new CliFailure(`connect to the daemon at ${path}: ${ContainerdError.from(cause).message}`, {
    hint: `check the path, ${other}`,
    cause,
  });
}
