/**
 * Where a process's output goes, as clients write it: "" for nowhere, a bare path or `fifo://` for a FIFO, `file://`
 * for a file that is appended to, `binary://` and `binary-v2://` for a logger program whose query gives its arguments.
 */
import { invalidArgument, unimplemented } from '../../base/errors.ts';

export type OutputTarget =
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
