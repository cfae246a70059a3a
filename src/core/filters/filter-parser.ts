/**
 * The syntax of containerd's filters: selectors joined by commas, `fieldpath[operator value]`.
 *
 * A field part is `[A-Za-z0-9_]+` or a double-quoted string. A value is double-quoted or bare (up to a comma or white
 * space, not starting with a quote, separator or operator); after `~=` it may also stand in `/…/` or `|…|`. Escapes
 * inside quotes are Go's. White space is skipped before tokens, but none may follow a value. Errors show the place as
 * containerd does: `[id >|=|< ==x]: unsupported operator "==="`.
 */
import { invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';

export type FilterOperator = 'present' | '==' | '!=' | '~=';

export interface Selector {
  readonly path: readonly string[];
  readonly operator: FilterOperator;
  readonly value: string;
}

/** Errors: InvalidArgument for a syntax error or a filter over the limit. */
export function parseFilter(text: string): Selector[] {
  if (Buffer.byteLength(text) > limits.filterBytes)
    throw invalidArgument(`filters: longer than ${limits.filterBytes} bytes`);
  return new FilterParser(text).selectors();
}

type TokenKind = 'end' | 'separator' | 'operator' | 'quoted' | 'word' | 'other';

interface Token {
  readonly kind: TokenKind;
  readonly at: number;
  readonly text: string;
}

const fieldRunes = /[A-Za-z0-9_]+/y;
const operatorRunes = /[=!~]+/y;
const bareValue = /[^,\s\p{C}]+/uy;

class FilterParser {
  readonly #text: string;
  #next = 0;

  constructor(text: string) {
    this.#text = text;
  }

  selectors(): Selector[] {
    const selectors = [this.#selector()];
    while (this.#next < this.#text.length) {
      if (this.#text[this.#next] !== ',')
        throw this.#error(this.#next, `unexpected input: ${this.#runeAt(this.#next)}`);
      this.#next += 1;
      selectors.push(this.#selector());
    }
    return selectors;
  }

  #selector(): Selector {
    const path = [this.#field()];
    while (this.#text[this.#next] === '.') {
      this.#next += 1;
      path.push(this.#field());
    }
    if (this.#next >= this.#text.length || this.#text[this.#next] === ',')
      return { path, operator: 'present', value: '' };
    const operator = this.#operator();
    return { path, operator, value: this.#value(operator === '~=') };
  }

  #field(): string {
    const token = this.#scan(fieldRunes);
    if (token.kind === 'word') return token.text;
    if (token.kind === 'quoted') return this.#unquote(token, false);
    throw this.#error(token.at, 'expected field or quoted');
  }

  #operator(): Exclude<FilterOperator, 'present'> {
    const token = this.#scan(fieldRunes);
    if (token.kind !== 'operator') throw this.#error(token.at, 'expected an operator ("=="|"!="|"~=")');
    if (token.text === '==' || token.text === '!=' || token.text === '~=') return token.text;
    throw this.#error(token.at, `unsupported operator ${JSON.stringify(token.text)}`);
  }

  #value(otherQuotes: boolean): string {
    const token = this.#scan(bareValue);
    if (token.kind === 'word') return token.text;
    if (token.kind === 'quoted') return this.#unquote(token, otherQuotes);
    throw this.#error(token.at, 'expected value or quoted');
  }

  #scan(word: RegExp): Token {
    while (/\s/.test(this.#text[this.#next] ?? '')) this.#next += 1;
    const at = this.#next;
    const first = this.#text[at];
    if (first === undefined) return { kind: 'end', at, text: '' };
    if (first === '"' || first === '/' || first === '|') return this.#quoted(at, first);
    if (first === ',' || first === '.') return this.#take('separator', at, first);
    operatorRunes.lastIndex = at;
    const operator = operatorRunes.exec(this.#text);
    if (operator !== null) return this.#take('operator', at, operator[0]);
    word.lastIndex = at;
    const match = word.exec(this.#text);
    return match === null ? { kind: 'other', at, text: first } : this.#take('word', at, match[0]);
  }

  #take(kind: TokenKind, at: number, text: string): Token {
    this.#next = at + text.length;
    return { kind, at, text };
  }

  #quoted(at: number, quote: string): Token {
    for (let end = at + 1; end < this.#text.length; end += 1) {
      if (this.#text[end] === '\\') end += 1;
      else if (this.#text[end] === quote) return this.#take('quoted', at, this.#text.slice(at, end + 1));
    }
    throw this.#error(at, 'quoted literal not terminated');
  }

  #unquote(token: Token, otherQuotes: boolean): string {
    const quote = token.text[0] as string;
    if (quote !== '"' && !otherQuotes) throw this.#error(token.at, 'invalid quote encountered');
    return token.text
      .slice(1, -1)
      .replace(
        /\\(?<escape>[0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.|$)/gsu,
        (_, escape: string) => {
          const value = unescape(escape, quote);
          if (value === undefined) throw this.#error(token.at, 'illegal escape sequence');
          return value;
        },
      );
  }

  #runeAt(at: number): string {
    const point = this.#text.codePointAt(at);
    return point === undefined ? '' : String.fromCodePoint(point);
  }

  #error(at: number, reason: string): Error {
    const rune = this.#runeAt(at);
    const where =
      rune === ''
        ? this.#text
        : `${this.#text.slice(0, at)} >|${rune}|< ${this.#text.slice(at + rune.length)}`;
    return invalidArgument(`filters: parse error: [${where}]: ${reason}`);
  }
}

const simpleEscapes: Readonly<Record<string, string>> = {
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
};

function unescape(escape: string, quote: string): string | undefined {
  if (escape === quote) return quote;
  if (Object.hasOwn(simpleEscapes, escape)) return simpleEscapes[escape];
  if (escape.length === 1) return undefined;
  const code = /^[0-7]{3}$/.test(escape) ? Number.parseInt(escape, 8) : Number.parseInt(escape.slice(1), 16);
  const surrogate = code >= 0xd800 && code <= 0xdfff;
  return code > 0x10ffff || surrogate || Number.isNaN(code) ? undefined : String.fromCodePoint(code);
}
