/**
 * Reads one hosts.toml: which hosts serve a registry's content, and how each is talked to (containerd's hosts.toml).
 *
 * A file that does not parse is an error that names file, line and reason. containerd logs it and goes on as if it were
 * not there, so that a misspelled mirror silently sends pulls elsewhere (docs/decisions/0060-hosts-toml-errors.md).
 * Keys that nobody knows are reported as warnings.
 */
import { isAbsolute, join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { type ContainerdError, failedPrecondition } from '../../base/errors.ts';
import { parseDurationMs } from '../plugins/duration.ts';

export type HostCapability = 'pull' | 'resolve' | 'push' | 'referrers';
export const allCapabilities: readonly HostCapability[] = ['pull', 'resolve', 'push', 'referrers'];

/** One host as the file describes it; paths are absolute. */
export interface HostTable {
  /** Absent on the file's top level when it names no `server`. */
  readonly url: URL | undefined;
  readonly capabilities: readonly HostCapability[];
  readonly caPaths: readonly string[];
  /** A client without key path has both in one file. */
  readonly clientPaths: readonly { readonly cert: string; readonly key: string | undefined }[];
  readonly skipVerify: boolean;
  readonly headers: Readonly<Record<string, string>>;
  readonly overridePath: boolean;
  readonly dialTimeoutMs: number | undefined;
}

export interface HostsFile {
  /** In file order. */
  readonly hosts: readonly HostTable[];
  /** The top level: `server` and what applies to it, or to the registry itself. */
  readonly server: HostTable;
  readonly warnings: readonly string[];
}

const tableKeys = new Set('capabilities ca client skip_verify header override_path dial_timeout'.split(' '));

/** `path` names the file in messages, `directory` is where relative paths start. Errors: FailedPrecondition. */
export function parseHostsToml(text: string, path: string, directory: string): HostsFile {
  return new HostsReader(text, path, directory).read();
}

class HostsReader {
  readonly #text: string;
  readonly #path: string;
  readonly #directory: string;
  readonly #warnings: string[] = [];
  #places: Places | undefined;

  constructor(text: string, path: string, directory: string) {
    this.#text = text;
    this.#path = path;
    this.#directory = directory;
  }

  read(): HostsFile {
    const document = this.#parse();
    const { host, server, ...own } = document;
    if (host !== undefined && !isTable(host))
      throw this.#error('', 'host', 'must be tables: [host."https://…"]');
    const hosts = Object.entries(host ?? {}).map(([name, table]) => {
      if (!isTable(table)) throw this.#error('', name, 'must be a table: [host."https://…"]');
      return this.#hostTable(name, table, this.#url(name, name, 'host'));
    });
    const url = server === undefined || server === '' ? undefined : this.#url('', server, 'server');
    return { hosts, server: this.#hostTable('', own, url), warnings: this.#warnings };
  }

  #parse(): Record<string, unknown> {
    try {
      return parse(this.#text);
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      const reason = error.message.split('\n', 1)[0]?.replace(/^Invalid TOML document: /, '') ?? '';
      throw failedPrecondition(`${this.#path}:${error.line}: ${reason}: correct it or move it away`, error);
    }
  }

  #hostTable(name: string, table: Record<string, unknown>, url: URL | undefined): HostTable {
    for (const key of Object.keys(table))
      if (!tableKeys.has(key))
        this.#warnings.push(
          `${this.#path}:${this.#lineOf(name, key)}: unknown key ${JSON.stringify(key)} is ignored`,
        );
    return {
      url,
      capabilities: this.#capabilities(name, table['capabilities']),
      caPaths: this.#strings(name, 'ca', table['ca']).map((path) => this.#absolute(path)),
      clientPaths: this.#clients(name, table['client']),
      skipVerify: this.#boolean(name, 'skip_verify', table['skip_verify']),
      headers: this.#headers(name, table['header']),
      overridePath: this.#boolean(name, 'override_path', table['override_path']),
      dialTimeoutMs: this.#duration(name, table['dial_timeout']),
    };
  }

  #url(name: string, value: unknown, key: string): URL {
    if (typeof value !== 'string') throw this.#error(name, key, 'must be a string');
    const url = URL.parse(/^https?:\/\//.test(value) ? value : `https://${value}`);
    const plain =
      url !== null && url.search === '' && url.hash === '' && url.username === '' && url.hostname !== '';
    if (value === '' || !plain)
      throw this.#error(name, key, `${JSON.stringify(value)} is not the URL of a registry host`);
    return url;
  }

  #capabilities(name: string, value: unknown): readonly HostCapability[] {
    const words = this.#strings(name, 'capabilities', value);
    for (const word of words)
      if (!allCapabilities.includes(word as HostCapability))
        throw this.#error(
          name,
          'capabilities',
          `unknown capability ${JSON.stringify(word)}: choose among ${allCapabilities.join(', ')}`,
        );
    return words.length === 0 ? allCapabilities : (words as HostCapability[]);
  }

  #clients(name: string, value: unknown): HostTable['clientPaths'] {
    if (value === undefined) return [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    return list.map((entry: unknown) => {
      const pair: unknown[] = Array.isArray(entry) ? entry : [entry];
      const [cert, key] = pair;
      if (pair.length > 2 || typeof cert !== 'string' || !(key === undefined || typeof key === 'string'))
        throw this.#error(
          name,
          'client',
          'must be a file, a list of files, or a list of [certificate, key] pairs',
        );
      return { cert: this.#absolute(cert), key: key ? this.#absolute(key) : undefined };
    });
  }

  #headers(name: string, value: unknown): Readonly<Record<string, string>> {
    if (value === undefined) return {};
    if (!isTable(value)) throw this.#error(name, 'header', 'must be a table of names and values');
    return Object.fromEntries(
      Object.keys(value).map((header) => {
        const values = this.#strings(name, header, value[header]);
        if (
          !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(header) ||
          values.some((text) => /[^\t\x20-\x7e]/.test(text))
        )
          throw this.#error(name, header, 'is not an HTTP header');
        return [header.toLowerCase(), values.join(', ')];
      }),
    );
  }

  #duration(name: string, value: unknown): number | undefined {
    if (value === undefined || value === '') return undefined;
    const durationMs = typeof value === 'string' ? parseDurationMs(value) : undefined;
    if (durationMs === undefined || durationMs < 0)
      throw this.#error(name, 'dial_timeout', 'must be a duration such as "10s"');
    return durationMs === 0 ? undefined : durationMs;
  }

  #strings(name: string, key: string, value: unknown): readonly string[] {
    if (value === undefined) return [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (list.some((entry) => typeof entry !== 'string'))
      throw this.#error(name, key, 'must be a string or a list of strings');
    return list as string[];
  }

  #boolean(name: string, key: string, value: unknown): boolean {
    if (value !== undefined && typeof value !== 'boolean')
      throw this.#error(name, key, 'must be true or false');
    return value === true;
  }

  #absolute(path: string): string {
    return isAbsolute(path) ? path : join(this.#directory, path);
  }

  #error(host: string, key: string, reason: string): ContainerdError {
    const inHost = host === '' || host === key ? '' : ` of host ${JSON.stringify(host)}`;
    return failedPrecondition(
      `${this.#path}:${this.#lineOf(host, key)}: ${JSON.stringify(key)}${inHost} ${reason}`,
    );
  }

  #lineOf(host: string, key: string): number {
    this.#places ??= new Places(this.#text);
    return this.#places.lineOf(host, key);
  }
}

const headerLine = /^\s*\[\s*host\s*\.\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))/;
const keyLine = /^\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*=/;

/**
 * The parser keeps no places, so lines are looked for again: the host's header, then the key behind it. Once for a
 * file, so that one of nothing but mistakes takes no longer than another.
 */
class Places {
  /** First header of each host, from 0. */
  readonly #headers = new Map<string, number>();
  /** Lines of each key, ascending. */
  readonly #keys = new Map<string, number[]>();

  constructor(text: string) {
    for (const [line, content] of text.split('\n').entries()) {
      const host = captured(headerLine, content);
      if (host !== undefined && !this.#headers.has(host)) this.#headers.set(host, line);
      const key = captured(keyLine, content);
      if (key === undefined) continue;
      const lines = this.#keys.get(key) ?? [];
      lines.push(line);
      this.#keys.set(key, lines);
    }
  }

  /** From 1; 1 for what is not found. */
  lineOf(host: string, key: string): number {
    const header = host === '' ? -1 : (this.#headers.get(host) ?? -1);
    const line = this.#keys.get(key)?.find((candidate) => candidate > header);
    return Math.max(line ?? header, 0) + 1;
  }
}

const captured = (pattern: RegExp, line: string): string | undefined => {
  const [, double, single, bare] = pattern.exec(line) ?? [];
  return double ?? single ?? bare;
};

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
