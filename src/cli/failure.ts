/**
 * What went wrong, for people: `gantry: what failed: why`, and a line that says what to do about it.
 *
 * Exit codes: 1 failure, 2 usage, 125 when `run` or `exec` could not get the process started, 126 and 127 when its
 * command cannot be executed or is not there, 128 + n for a signal, otherwise the container's own.
 */
import { ContainerdError } from '../base/errors.ts';

export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  daemon: 125,
  notExecutable: 126,
  notFound: 127,
  interrupted: 130,
} as const;

export class CliFailure extends Error {
  readonly hint: string | undefined;
  readonly exitCode: number;

  constructor(
    message: string,
    { hint, exitCode = exitCodes.failure, cause }: { hint?: string; exitCode?: number; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.name = 'CliFailure';
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

export const usage = (message: string, hint?: string): CliFailure =>
  new CliFailure(message, { exitCode: exitCodes.usage, ...(hint === undefined ? {} : { hint }) });

/** Anything thrown, in the words of the command line. */
export function asFailure(thrown: unknown): CliFailure {
  if (thrown instanceof CliFailure) return thrown;
  const error = ContainerdError.from(thrown);
  const rule = rules.find(
    ({ code, matches }) => code === error.code && (matches?.test(error.message) ?? true),
  );
  return new CliFailure(withClass(error), {
    cause: thrown,
    ...(rule?.hint === undefined ? {} : { hint: rule.hint }),
    exitCode: rule?.exitCode ?? exitCodes.failure,
  });
}

/** The wire's clients take the class off a message; where it is the whole reason, people want to read it. */
function withClass({ code, message }: ContainerdError): string {
  const words: Partial<Record<ContainerdError['code'], string>> = {
    NotFound: 'not found',
    AlreadyExists: 'already exists',
    Canceled: 'interrupted',
  };
  const word = words[code];
  return word === undefined || message.toLowerCase().includes(word) ? message : `${message}: ${word}`;
}

interface Rule {
  readonly code: ContainerdError['code'];
  readonly matches?: RegExp;
  readonly hint?: string;
  readonly exitCode?: number;
}

/** First match wins. */
const rules: readonly Rule[] = [
  { code: 'Canceled', exitCode: exitCodes.interrupted },
  {
    code: 'Unauthenticated',
    hint: 'the registry wants to know who you are: gantry pull -u USER:PASSWORD IMAGE',
  },
  {
    code: 'PermissionDenied',
    matches: /pull|resolve|registry|push/,
    hint: 'the registry refused: check the name of the image, and give -u USER:PASSWORD if it is a private one',
  },
  { code: 'PermissionDenied', hint: 'try it as root' },
  {
    code: 'NotFound',
    matches: /pull |resolve/,
    hint: 'the registry has no such image: check its name and tag',
  },
  {
    code: 'Unavailable',
    matches: /closed|lost|connect|reset|socket/i,
    hint: 'the daemon went away; containers go on running. Look at its log, start it and try again',
  },
  {
    code: 'Unimplemented',
    hint: 'this daemon is too old for it: gantry version shows which one answers',
  },
  {
    code: 'ResourceExhausted',
    hint: 'the daemon is out of something: check the disk with df, and free space with gantry rmi',
  },
  {
    code: 'Unknown',
    matches: /server gave HTTP response to HTTPS client|wrong version number|SSL routines/i,
    hint: 'the registry does not speak TLS: if that is meant to be so, use --plain-http',
  },
];

/**
 * A failure to get a process running, with the exit code that shells know: 127 no such command, 126 a command that
 * cannot be executed, 125 anything else.
 */
export function asStartFailure(thrown: unknown): CliFailure {
  const failure = asFailure(thrown);
  if (failure.exitCode === exitCodes.interrupted || failure.exitCode === exitCodes.usage) return failure;
  const { message, cause } = failure;
  if (/executable file not found|exec: "[^"]*": stat|exec .*: no such file or directory/.test(message))
    return new CliFailure(message, {
      exitCode: exitCodes.notFound,
      hint: 'the command is not in the container: give one that is, or another --entrypoint',
      cause,
    });
  if (
    /exec: "[^"]*": (?:permission denied|is a directory)|exec .*: (?:permission denied|exec format error)/.test(
      message,
    )
  )
    return new CliFailure(message, {
      exitCode: exitCodes.notExecutable,
      hint: 'the command cannot be executed: check its mode, and that it is made for this machine',
      cause,
    });
  return new CliFailure(message, {
    exitCode: exitCodes.daemon,
    cause,
    ...(failure.hint === undefined ? {} : { hint: failure.hint }),
  });
}
