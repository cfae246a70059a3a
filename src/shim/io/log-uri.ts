/**
 * Where a process's output goes, as clients write it: "" for nowhere, a bare path or `fifo://` for a FIFO, `file://`
 * for a file that is appended to, `binary://` and `binary-v2://` for a logger program whose query gives its arguments.
 *
 * `cri:` is ours: `cri:///path?max-line=N` is a log in the format of the CRI that the shim writes, `cri://` none; with
 * either, clients attach through the shim (attachments.ts). As stdin it is `cri://`, or `cri://?once` when the input ends
 * with the first client that brought some.
 */
import { invalidArgument, unimplemented } from '../../base/errors.ts';

/** Without a bound of its own, a line is cut here: what waits for its end is held in memory. */
const lineBytesMax = 256 * 1024;

export interface CriTarget {
  readonly kind: 'cri';
  /** "" for no log. */
  readonly path: string;
  /** Longer lines are cut. */
  readonly maxLineBytes: number;
  readonly once: boolean;
}

export type OutputTarget =
  | CriTarget
  | { readonly kind: 'null' }
  | { readonly kind: 'fifo'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string }
  | {
      readonly kind: 'binary';
      readonly path: string;
      readonly args: readonly string[];
      /** The logger must write a byte to say that it is ready; closing is not enough (binary-v2). */
      readonly mustWriteReady: boolean;
    };

/** Errors: InvalidArgument for a form nobody could mean, Unimplemented for a scheme of others. */
export function parseOutput(text: string): OutputTarget {
  if (text === '') return { kind: 'null' };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(text)?.[1];
  if (scheme === undefined) return { kind: 'fifo', path: absolute(text, text) };
  const rest = text.slice(scheme.length + 3);
  const [encodedPath = '', query = ''] = splitOnce(rest, '?');
  if (scheme === 'cri') return parseCri(decode(encodedPath, text), new URLSearchParams(query), text);
  const path = absolute(decode(encodedPath, text), text);
  switch (scheme) {
    case 'fifo':
      return { kind: 'fifo', path };
    case 'file':
      return { kind: 'file', path };
    case 'binary':
    case 'binary-v2':
      return { kind: 'binary', path, args: queryArgs(query, text), mustWriteReady: scheme === 'binary-v2' };
    default:
      throw unimplemented(`unknown STDIO scheme ${scheme}`);
  }
}

/** The target of a `cri:` URI, as output or as stdin; undefined for everything else. Errors: InvalidArgument. */
export function parseCriTarget(text: string): CriTarget | undefined {
  if (!text.startsWith('cri:')) return undefined;
  const target = parseOutput(text);
  return target.kind === 'cri' ? target : undefined;
}

function parseCri(path: string, query: URLSearchParams, uri: string): CriTarget {
  const maxLine = query.get('max-line') ?? '0';
  if (!/^\d{1,9}$/.test(maxLine))
    throw invalidArgument(`log URI ${JSON.stringify(uri)} needs a number of bytes as max-line`);
  return {
    kind: 'cri',
    path: path === '' ? '' : absolute(path, uri),
    maxLineBytes: Math.min(Number(maxLine) || lineBytesMax, lineBytesMax),
    once: query.has('once'),
  };
}

/** `?k=v&k2=` becomes `k v k2`: a key without a value is passed alone, a repeated key counts once, as containerd. */
function queryArgs(query: string, uri: string): string[] {
  const seen = new Map<string, string>();
  for (const part of query.split('&')) {
    if (part === '') continue;
    const [key = '', value = ''] = splitOnce(part, '=');
    const name = decode(key.replaceAll('+', ' '), uri);
    const text = decode(value.replaceAll('+', ' '), uri);
    if (`${name}${text}`.includes('\0'))
      throw invalidArgument(
        `log URI ${JSON.stringify(uri)} has a NUL in its query, which no program can be given`,
      );
    if (!seen.has(name)) seen.set(name, text);
  }
  return [...seen].flatMap(([key, value]) => (value === '' ? [key] : [key, value]));
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}

function decode(text: string, uri: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw invalidArgument(`log URI ${JSON.stringify(uri)} has a broken % escape`, error);
  }
}

function absolute(path: string, uri: string): string {
  if (!path.startsWith('/') || path.includes('\0'))
    throw invalidArgument(`log URI ${JSON.stringify(uri)} needs an absolute path`);
  return path;
}
