/**
 * One run of one CNI plugin: a program that is told what to do by its environment and its standard input.
 *
 * Plugins are strangers: no shell, a name that cannot leave its folder, bounds on what they print and how long they
 * take. A plugin and its children are killed when the bound is reached or the caller goes away.
 *
 * Source: CNI specification 1.1, "Section 2: Execution Protocol". Differs from containerd, which waits without end.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Context, checkSignal } from '../../base/context.ts';
import {
  absent,
  ContainerdError,
  codedError,
  deadlineExceeded,
  type ErrorCode,
  hasCode,
  wrap,
} from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { type JsonObject, optionalString, optionalStrings, parseJsonObject } from '../../oci/json.ts';
import { childEnvironment } from '../../platform/child-environment.ts';
import { runCommand } from '../../platform/command.ts';
import { type CommandResult, type ProcessOperations } from '../../platform/platform.ts';
import { type CniCommand, checkArgument, checkPluginType } from './cni-protocol.ts';
import { endLeftPlugins, type LeftPluginProcesses } from './left-plugins.ts';

/** Which interface of which pod. */
export interface CniTarget {
  readonly podId: string;
  /** "" when the namespace has gone. */
  readonly netns: string;
  readonly ifName: string;
  readonly args: readonly (readonly [name: string, value: string])[];
}

export interface CniPluginsDependencies {
  readonly processes: LeftPluginProcesses & Pick<ProcessOperations, 'spawn' | 'exited'>;
}

export interface CniPluginsOptions {
  /** Absolute; the first that has the plugin counts. */
  readonly binDirs: readonly string[];
  /** Of one run. Default: limits.cniPluginMs. */
  readonly timeoutMs?: number;
}

/** Codes of the specification that mean more than "it failed"; the rest is Unknown, as from containerd. */
const codes: ReadonlyMap<number, ErrorCode> = new Map([
  [7, 'InvalidArgument'],
  [11, 'Unavailable'],
  [50, 'Unavailable'],
  [51, 'Unavailable'],
]);

export class CniPlugins {
  readonly #processes: CniPluginsDependencies['processes'];
  readonly #binDirs: readonly string[];
  readonly #timeoutMs: number;

  constructor({ processes }: CniPluginsDependencies, { binDirs, timeoutMs }: CniPluginsOptions) {
    this.#processes = processes;
    this.#binDirs = binDirs;
    this.#timeoutMs = timeoutMs ?? limits.cniPluginMs;
  }

  /**
   * What the plugin printed, undefined for nothing. Errors: NotFound (no such plugin), DeadlineExceeded, Canceled,
   * ResourceExhausted (printed too much), InvalidArgument and Unavailable where the plugin says so, else Unknown.
   */
  async run(
    ctx: Context,
    command: CniCommand,
    type: string,
    input: JsonObject,
    target?: CniTarget,
  ): Promise<JsonObject | undefined> {
    const what = `plugin type=${JSON.stringify(type)} failed (${command.toLowerCase()})`;
    const file = await this.find(type);
    const result = await this.#execute(ctx, file, what, input, {
      CNI_COMMAND: command,
      CNI_PATH: this.#binDirs.join(':'),
      ...(target !== undefined && environmentOf(target)),
    });
    if (result.status !== 0) throw failureOf(what, result);
    if (command === 'DEL' || result.stdout.toString().trim() === '') return undefined;
    try {
      return parseJsonObject(result.stdout, 'its answer', limits.cniAnswerBytes);
    } catch (error) {
      throw codedError('Unknown', `${what}: ${ContainerdError.from(error).message}`, error);
    }
  }

  /** Versions of the protocol that the plugin speaks. Errors: as `run`. */
  async versions(ctx: Context, type: string): Promise<readonly string[]> {
    const answer = (await this.run(ctx, 'VERSION', type, { cniVersion: '1.1.0' })) ?? {};
    return optionalStrings(answer, 'supportedVersions', `plugin ${type}`) ?? [];
  }

  /** Ends what a process before this one left running for the pod; no plugin of ours may be at work on it. */
  async endLeft({ signal }: Context, podId: string): Promise<void> {
    await endLeftPlugins(this.#processes, podId, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]),
    });
  }

  /** The program of a plugin. Errors: NotFound, InvalidArgument. */
  async find(type: string): Promise<string> {
    checkPluginType(type);
    for (const folder of this.#binDirs) {
      const file = join(folder, type);
      if (await isFile(file)) return file;
    }
    throw absent(`failed to find plugin ${JSON.stringify(type)} in path [${this.#binDirs.join(' ')}]`);
  }

  async #execute(
    ctx: Context,
    file: string,
    what: string,
    input: JsonObject,
    environment: Readonly<Record<string, string>>,
  ): Promise<CommandResult> {
    const time = AbortSignal.timeout(this.#timeoutMs);
    try {
      return await runCommand(this.#processes, {
        file,
        args: [],
        env: childEnvironment(environment),
        stdin: Buffer.from(JSON.stringify(input)),
        maxOutputBytes: limits.cniAnswerBytes,
        signal: AbortSignal.any([ctx.signal, time]),
      });
    } catch (error) {
      checkSignal(ctx.signal);
      if (time.aborted && hasCode(error, 'DeadlineExceeded'))
        throw deadlineExceeded(`${what}: it was killed after ${this.#timeoutMs} ms`, error);
      throw wrap(what, error);
    }
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function environmentOf({ podId, netns, ifName, args }: CniTarget): Record<string, string> {
  for (const [name, value] of args) checkArgument(name, value);
  return {
    CNI_CONTAINERID: podId,
    CNI_NETNS: netns,
    CNI_IFNAME: ifName,
    CNI_ARGS: args.map(([name, value]) => `${name}=${value}`).join(';'),
  };
}

/** A plugin that fails says why on standard output; one that crashes, if at all, on the other. */
function failureOf(what: string, { status, stdout, stderr }: CommandResult): ContainerdError {
  const told = toldBy(stdout);
  if (told !== undefined) return codedError(codes.get(told.code) ?? 'Unknown', `${what}: ${told.text}`);
  const printed = stderr.subarray(0, limits.cniMessageBytes).toString().trim();
  const cause = status > 128 ? `killed by signal ${status - 128}` : `exit status ${status}`;
  return codedError('Unknown', `${what}: ${cause}${printed === '' ? '' : `: ${printed}`}`);
}

function toldBy(stdout: Buffer): { readonly code: number; readonly text: string } | undefined {
  try {
    const document = parseJsonObject(stdout, 'its error', limits.cniAnswerBytes);
    const message = optionalString(document, 'msg', 'error') ?? '';
    const details = optionalString(document, 'details', 'error') ?? '';
    const text = [message, details].filter((part) => part !== '').join('; ');
    if (text === '') return undefined;
    return { code: Number(document['code'] ?? 0), text: text.slice(0, limits.cniMessageBytes) };
  } catch {
    return undefined;
  }
}
