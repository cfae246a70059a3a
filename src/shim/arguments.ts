/**
 * The command line of the standard shim protocol: flags in the style of Go's flag package (`-id X`, `-id=X`, `--id X`),
 * then one word that says what to do. containerd passes flags before the word.
 */
import { invalidArgument } from '../base/errors.ts';

export type ShimCommand = 'start' | 'delete' | 'serve';

export interface ShimArguments {
  readonly command: ShimCommand | undefined;
  readonly namespace: string;
  readonly id: string;
  /** gRPC address of the daemon. */
  readonly address: string;
  readonly publishBinary: string;
  /** Directory of the bundle; "" is the working directory. */
  readonly bundle: string;
  readonly debug: boolean;
  readonly showVersion: boolean;
  readonly showInfo: boolean;
  /** Path of the socket that `serve` listens on. */
  readonly socket: string;
  /** Below it the state of runc is kept, a directory a namespace; "" is containerd's own place. */
  readonly runcRoot: string;
  /** Where `serve` notes what it holds and finds what the shim before it held; "" is `held` beside the socket. */
  readonly held: string;
  /** How long an empty shim stays once it was asked to shut down. */
  readonly graceMs: number;
}

const textFlags = {
  namespace: 'namespace',
  id: 'id',
  address: 'address',
  'publish-binary': 'publishBinary',
  bundle: 'bundle',
  socket: 'socket',
  'runc-root': 'runcRoot',
  held: 'held',
  'grace-ms': 'graceMs',
} as const;

const switches = { debug: 'debug', v: 'showVersion', info: 'showInfo' } as const;

type TextKey = (typeof textFlags)[keyof typeof textFlags];
type SwitchKey = (typeof switches)[keyof typeof switches];

const commands: readonly string[] = ['start', 'delete', 'serve'] satisfies ShimCommand[];

function parseSwitch(name: string, value: string | undefined): boolean {
  if (value === undefined || value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw invalidArgument(`flag -${name} takes true or false, not ${JSON.stringify(value)}`);
}

/** Errors: InvalidArgument for an unknown flag or command, or a flag without its value. */
export function parseArguments(words: readonly string[]): ShimArguments {
  const texts: Partial<Record<TextKey, string>> = {};
  const flags: Partial<Record<SwitchKey, boolean>> = {};
  const rest: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] as string;
    const match = /^--?([^=-][^=]*)(?:=(.*))?$/s.exec(word);
    if (match === null) {
      rest.push(word);
      continue;
    }
    const [, name = '', value] = match;
    if (Object.hasOwn(switches, name)) {
      flags[switches[name as keyof typeof switches]] = parseSwitch(name, value);
    } else if (Object.hasOwn(textFlags, name)) {
      const given = value ?? words[(at += 1)];
      if (given === undefined) throw invalidArgument(`flag -${name} needs a value`);
      texts[textFlags[name as keyof typeof textFlags]] = given;
    } else {
      throw invalidArgument(
        `unknown flag ${word}; known are -${Object.keys(textFlags).join(', -')}, -debug, -v, -info`,
      );
    }
  }
  return { ...finish(texts), ...parseRest(rest), ...parseSwitches(flags) };
}

function parseRest(rest: readonly string[]): Pick<ShimArguments, 'command'> {
  const [command, ...more] = rest;
  if (more.length > 0 || (command !== undefined && !commands.includes(command)))
    throw invalidArgument(
      `unknown command ${JSON.stringify(rest.join(' '))}; known are ${commands.join(', ')}`,
    );
  return { command: command as ShimCommand | undefined };
}

const parseSwitches = (flags: Partial<Record<SwitchKey, boolean>>): Pick<ShimArguments, SwitchKey> => ({
  debug: flags.debug ?? false,
  showVersion: flags.showVersion ?? false,
  showInfo: flags.showInfo ?? false,
});

function finish(texts: Partial<Record<TextKey, string>>): Omit<ShimArguments, 'command' | SwitchKey> {
  const graceMs = Number(texts.graceMs ?? 0);
  if (!Number.isSafeInteger(graceMs) || graceMs < 0)
    throw invalidArgument(`flag -grace-ms takes milliseconds, not ${JSON.stringify(texts.graceMs)}`);
  return {
    namespace: texts.namespace ?? '',
    id: texts.id ?? '',
    address: texts.address ?? '',
    publishBinary: texts.publishBinary ?? '',
    bundle: texts.bundle ?? '',
    socket: texts.socket ?? '',
    runcRoot: texts.runcRoot ?? '',
    held: texts.held ?? '',
    graceMs,
  };
}
