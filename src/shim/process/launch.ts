/**
 * How runc is made to start a process with its descriptors or its terminal: the same for create, exec and restore.
 * The shim must be a subreaper: the process becomes its child when runc has gone.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { internal, unknown, wrap } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { ConsoleSocket, Platform, StdioTarget } from '../../platform/platform.ts';
import type { Attachments } from '../io/attachments.ts';
import type { Owner } from '../io/log-binary.ts';
import { parseCriTarget } from '../io/log-uri.ts';
import { RelayedStdio } from '../io/relayed-stdio.ts';
import { type IoOwner, type IoPaths, openStdio, type ProcessStdio } from '../io/stdio.ts';
import { Terminal } from '../io/terminal.ts';
import type { Runc } from '../runc/runc.ts';
import type { ProcessStreams } from './task-process.ts';

export interface LaunchDependencies {
  readonly platform: Platform;
  readonly runc: Runc;
  readonly log: Logger;
}

export interface LaunchRequest {
  readonly doing: string;
  readonly directory: string;
  /** Nothing is there yet. */
  readonly pidFile: string;
  readonly io: IoPaths;
  readonly ioOwner: IoOwner;
  readonly owner: Owner;
  /** Where streams of the process may be kept. */
  readonly streamsIn: string;
  /** See RelayOptions. */
  readonly endsWithProcess: boolean;
  readonly attachments: Attachments | undefined;
  /** The subcommand, given where runc shall send the terminal. */
  readonly words: (consoleSocket: string | undefined) => readonly string[];
}

export interface Launched {
  readonly pid: number;
  readonly streams: ProcessStreams;
}

/** What runc may take to hand the terminal over once it has ended well. */
const consoleMs = 10_000;

/** Errors: as runc says; as openStdio. Nothing is left open on failure. */
export async function launch(deps: LaunchDependencies, request: LaunchRequest): Promise<Launched> {
  return request.io.terminal ? await launchInTerminal(deps, request) : await launchDirect(deps, request);
}

async function launchDirect(deps: LaunchDependencies, request: LaunchRequest): Promise<Launched> {
  const stdio = await orNoStreams(openStreams(deps, request));
  try {
    const pid = await runAndAdopt(deps, request, undefined, stdio.childFds);
    stdio.releaseChild();
    return { pid, streams: { kind: 'direct', stdio } };
  } catch (error) {
    await stdio[Symbol.asyncDispose]();
    throw error;
  }
}

async function openStreams(deps: LaunchDependencies, request: LaunchRequest): Promise<ProcessStdio> {
  const { io, ioOwner, owner, attachments, endsWithProcess, streamsIn: directory } = request;
  const target = parseCriTarget(io.stdout);
  if (target === undefined || attachments === undefined) return openStdio(deps.platform, io, owner, ioOwner);
  return RelayedStdio.open({ ...deps, attachments }, { directory, target, io, endsWithProcess }, ioOwner);
}

async function launchInTerminal(deps: LaunchDependencies, request: LaunchRequest): Promise<Launched> {
  const { platform, log } = deps;
  const terminal = await orNoStreams(
    Terminal.open({ platform, log, attachments: request.attachments }, request.io, request.owner),
  );
  try {
    await using console = await openConsole(platform);
    const pid = await runAndAdopt(deps, request, console.socket.path, undefined);
    terminal.attach(await console.socket.receive({ signal: AbortSignal.timeout(consoleMs) }));
    return { pid, streams: { kind: 'terminal', terminal } };
  } catch (error) {
    await terminal[Symbol.asyncDispose]();
    throw error;
  }
}

/** What is not there is no container that is not there, and a scheme of others no call that does not exist. */
async function orNoStreams<Streams>(opening: Promise<Streams>): Promise<Streams> {
  try {
    return await opening;
  } catch (error) {
    const wrapped = wrap('failed to create init process I/O', error);
    const isMisleading = wrapped.code === 'NotFound' || wrapped.code === 'Unimplemented';
    throw isMisleading ? unknown(wrapped.message, error) : wrapped;
  }
}

/** In the system's temporary directory: a bundle's path may be longer than a socket's may be. */
async function openConsole(
  platform: Platform,
): Promise<AsyncDisposable & { readonly socket: ConsoleSocket }> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-console-'));
  try {
    const socket = await platform.terminals.consoleSocket(join(directory, 's'));
    return {
      socket,
      [Symbol.asyncDispose]: async () => {
        await socket[Symbol.asyncDispose]();
        rmSync(directory, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

async function runAndAdopt(
  deps: LaunchDependencies,
  request: LaunchRequest,
  consoleSocket: string | undefined,
  stdio: readonly StdioTarget[] | undefined,
): Promise<number> {
  await deps.runc.run({
    doing: request.doing,
    words: request.words(consoleSocket),
    directory: request.directory,
    ...(stdio === undefined ? {} : { stdio }),
  });
  const pid = readPidFile(request.pidFile);
  if (pid === undefined) throw internal(`${request.doing}: ${request.pidFile} holds no process id`);
  deps.platform.processes.adopt(pid);
  return pid;
}

/** Undefined when it is not there or holds no process id. */
export function readPidFile(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}
