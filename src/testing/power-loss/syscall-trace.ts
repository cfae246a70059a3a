/**
 * File calls of a process, as strace(1) saw them: all threads, SQLite and FFI included, in the order of their ends.
 *
 * A call that overlaps others counts from its end; but a sync saves what was there at its beginning, and a descriptor is
 * free from the beginning of its close.
 */
export type FileCall =
  | {
      readonly kind: 'open';
      readonly path: string;
      readonly fd: number;
      readonly create: boolean;
      readonly truncate: boolean;
      readonly append: boolean;
    }
  | {
      readonly kind: 'write';
      readonly fd: number;
      readonly offset: number | undefined;
      readonly bytes: Buffer;
    }
  | { readonly kind: 'copy'; readonly from: number; readonly to: number; readonly lengthBytes: number }
  | { readonly kind: 'resize'; readonly fd: number; readonly sizeBytes: number }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }
  | { readonly kind: 'link'; readonly from: string; readonly to: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'make-directory'; readonly path: string }
  | { readonly kind: 'make-symlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'close'; readonly fd: number }
  | { readonly kind: 'sync-begin'; readonly id: number; readonly fd: number; readonly whole: boolean }
  | { readonly kind: 'sync-end'; readonly id: number };

/** For `strace -e trace=`. */
const tracedCalls =
  'open,openat,close,creat,write,pwrite64,writev,pwritev,ftruncate,copy_file_range,sendfile,rename,renameat,renameat2,' +
  'unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat,link,linkat,fsync,fdatasync,syncfs,chroot,fallocate,truncate';

export const straceArguments = (output: string): string[] => [
  ...['-f', '-qq', '-xx', '-s', String(4 * 1024 * 1024), '-o', output],
  ...['-e', 'signal=none', '-e', `trace=${tracedCalls}`],
];

interface Line {
  readonly thread: string;
  readonly name: string;
  readonly args: readonly string[];
  readonly result: number;
}

/** Errors: one that says which line it cannot read. */
export function* readTrace(text: string): Generator<FileCall> {
  const reader = new TraceReader();
  for (const line of text.split('\n')) if (line !== '') yield* reader.read(line);
}

class TraceReader {
  readonly #unfinished = new Map<string, string>();
  /** Threads that called chroot(2): their absolute paths start there. */
  readonly #roots = new Map<string, string>();
  readonly #syncs = new Map<string, number>();
  #nextSync = 0;

  *read(text: string): Generator<FileCall> {
    const match = /^(?<thread>\d+) +(?<rest>.*)$/s.exec(text);
    if (match?.groups === undefined) throw new Error(`not a line of strace: ${text.slice(0, 200)}`);
    const { thread = '', rest = '' } = match.groups;
    if (rest.startsWith('+++') || rest.startsWith('---')) return;
    if (rest.endsWith('<unfinished ...>')) {
      const begun = rest.slice(0, -'<unfinished ...>'.length);
      this.#unfinished.set(thread, begun);
      yield* this.#begin(thread, begun);
      return;
    }
    const resumed = /^<\.\.\. \w+ resumed>(?<end>.*)$/s.exec(rest)?.groups?.['end'];
    const whole = resumed === undefined ? rest : `${this.#unfinished.get(thread) ?? ''}${resumed}`;
    if (resumed === undefined) yield* this.#begin(thread, rest);
    const line = parseLine(thread, whole);
    if (line !== undefined) yield* this.#callsOf(line);
  }

  /** What counts from its beginning: a descriptor may be another thread's before close(2) has returned. */
  *#begin(thread: string, text: string): Generator<FileCall> {
    const closed = /^close\((?<fd>\d+)/.exec(text)?.groups?.['fd'];
    if (closed !== undefined) yield { kind: 'close', fd: Number(closed) };
    const sync = /^(?<name>fsync|fdatasync|syncfs)\((?<fd>\d+)/.exec(text)?.groups;
    if (sync === undefined) return;
    const id = this.#nextSync;
    this.#nextSync += 1;
    this.#syncs.set(thread, id);
    yield { kind: 'sync-begin', id, fd: Number(sync['fd']), whole: sync['name'] === 'syncfs' };
  }

  *#callsOf({ thread, name, args, result }: Line): Generator<FileCall> {
    if (result < 0) return;
    const path = (index: number): string => `${this.#roots.get(thread) ?? ''}${pathOf(args[index])}`;
    const fd = Number(args[0]);
    switch (name) {
      case 'open':
      case 'openat': {
        const at = name === 'open' ? 0 : 1;
        const flags = args[at + 1] ?? '';
        const [create, truncate, append] = ['O_CREAT', 'O_TRUNC', 'O_APPEND'].map((flag) =>
          flags.includes(flag),
        );
        yield {
          kind: 'open',
          path: path(at),
          fd: result,
          create: !!create,
          truncate: !!truncate,
          append: !!append,
        };
        return;
      }
      case 'write':
        yield { kind: 'write', fd, offset: undefined, bytes: bytesOf(args[1]).subarray(0, result) };
        return;
      case 'pwrite64':
        yield { kind: 'write', fd, offset: Number(args[3]), bytes: bytesOf(args[1]).subarray(0, result) };
        return;
      case 'writev':
      case 'pwritev': {
        const bytes = Buffer.concat(
          [...(args[1] ?? '').matchAll(/iov_base="(?<hex>[^"]*)"/g)].map((part) =>
            unescape(part.groups?.['hex'] ?? ''),
          ),
        );
        const offset = name === 'pwritev' ? Number(args[3]) : undefined;
        yield { kind: 'write', fd, offset, bytes: bytes.subarray(0, result) };
        return;
      }
      case 'ftruncate':
        yield { kind: 'resize', fd, sizeBytes: Number(args[1]) };
        return;
      case 'copy_file_range':
        yield { kind: 'copy', from: fd, to: Number(args[2]), lengthBytes: result };
        return;
      case 'sendfile':
        yield { kind: 'copy', from: Number(args[1]), to: fd, lengthBytes: result };
        return;
      case 'rename':
        yield { kind: 'rename', from: path(0), to: path(1) };
        return;
      case 'renameat':
      case 'renameat2':
        yield { kind: 'rename', from: path(1), to: path(3) };
        return;
      case 'link':
        yield { kind: 'link', from: path(0), to: path(1) };
        return;
      case 'linkat':
        yield { kind: 'link', from: path(1), to: path(3) };
        return;
      case 'unlink':
      case 'rmdir':
        yield { kind: 'remove', path: path(0) };
        return;
      case 'unlinkat':
        yield { kind: 'remove', path: path(1) };
        return;
      case 'mkdir':
        yield { kind: 'make-directory', path: path(0) };
        return;
      case 'mkdirat':
        yield { kind: 'make-directory', path: path(1) };
        return;
      case 'symlink':
        yield { kind: 'make-symlink', path: path(1), target: pathOf(args[0]) };
        return;
      case 'symlinkat':
        yield { kind: 'make-symlink', path: path(2), target: pathOf(args[0]) };
        return;
      case 'fsync':
      case 'fdatasync':
      case 'syncfs':
        yield { kind: 'sync-end', id: this.#syncs.get(thread) ?? -1 };
        return;
      case 'close':
        return;
      case 'chroot':
        this.#roots.set(thread, path(0));
        return;
      default:
        throw new Error(`the model does not know ${name}(2): teach it`);
    }
  }
}

function parseLine(thread: string, text: string): Line | undefined {
  const open = text.indexOf('(');
  const end = text.lastIndexOf(') ');
  const result = /^\) += (?<result>-?\d+)/.exec(text.slice(end))?.groups?.['result'];
  // A call that the end of the process cut off.
  if (open < 0 || end < 0 || result === undefined) return undefined;
  return {
    thread,
    name: text.slice(0, open),
    args: splitArguments(text.slice(open + 1, end)),
    result: Number(result),
  };
}

/** At the commas of the call itself: not those in strings, arrays and structures. */
function splitArguments(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quoted = false;
  let from = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '"') quoted = !quoted;
    if (quoted) continue;
    if (char === '[' || char === '{') depth += 1;
    else if (char === ']' || char === '}') depth -= 1;
    else if (char === ',' && depth === 0) {
      parts.push(text.slice(from, at).trim());
      from = at + 1;
    }
  }
  return [...parts, text.slice(from).trim()];
}

const unescape = (text: string): Buffer => Buffer.from(text.replaceAll('\\x', ''), 'hex');

function bytesOf(argument: string | undefined): Buffer {
  if (argument === undefined || !argument.startsWith('"') || argument.endsWith('...'))
    throw new Error(`strace left out bytes: ${argument?.slice(0, 100)}`);
  return unescape(argument.slice(1, -1));
}

const pathOf = (argument: string | undefined): string => bytesOf(argument).toString('utf8');
