/**
 * Why runc failed, from its log (`--log-format json`): the last line of level error or fatal. Whole lines of other
 * forms (a Go panic, crun's plain text) are kept as they are.
 */
import { type ContainerdError, codedError, type ErrorCode, unknown } from '../../base/errors.ts';

/** A log may hold warnings of a whole start; only its end tells why it failed. */
const tailBytes = 64 * 1024;

/** The reason in a log, or undefined when it has none. */
export function reasonInLog(log: string): string | undefined {
  let last: string | undefined;
  const plain: string[] = [];
  for (const line of log.slice(-tailBytes).split('\n')) {
    if (line.trim() === '') continue;
    const entry = parseEntry(line);
    if (entry === undefined) plain.push(line.trim());
    else if (entry.level === 'error' || entry.level === 'fatal' || entry.level === 'panic')
      last = entry.message;
  }
  return last ?? (plain.length > 0 ? plain.slice(-20).join('; ') : undefined);
}

function parseEntry(line: string): { level: string; message: string } | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { level, msg } = entry as { level?: unknown; msg?: unknown };
    return {
      level: typeof level === 'string' ? level : 'error',
      message: typeof msg === 'string' ? msg : '',
    };
  } catch {
    return undefined;
  }
}

/** Fragments by which runc and crun name the classes of failure that callers tell apart. */
const classes: readonly (readonly [RegExp, ErrorCode])[] = [
  [/container with (given )?id .*already exists|container with given ID already exists/i, 'AlreadyExists'],
  [/container does not exist|does not exist: not found|error opening file .*status/i, 'NotFound'],
  [
    /process already finished|no such process|process not found|container not running|not started/i,
    'NotFound',
  ],
  [/cannot delete container .* that is not stopped|is not stopped/i, 'FailedPrecondition'],
];

/** `doing` as containerd says it: "OCI runtime create failed". */
export function runcError(doing: string, status: number, log: string, binary: string): ContainerdError {
  const reason = reasonInLog(log);
  if (reason === undefined)
    return unknown(`${doing}: ${binary} ended with status ${status} and gave no reason`);
  const code = classes.find(([pattern]) => pattern.test(reason))?.[1] ?? 'Unknown';
  return codedError(code, `${doing}: ${reason}`);
}
