/**
 * RE2's syntax (github.com/google/re2, "Syntax") into a tree, as far as a yes or no needs it: greediness and capture
 * groups parse and mean nothing. Back references and look-around do not exist there, so they are errors here.
 */
import { limits } from '../../base/limits.ts';

/** Says whether a code point belongs. */
export type CodePointTest = (codePoint: number) => boolean;
export type Assertion = 'text-start' | 'text-end' | 'line-start' | 'line-end' | 'word' | 'no-word';

export type Expression =
  | { readonly kind: 'point'; readonly test: CodePointTest }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'either'; readonly parts: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly part: Expression; readonly min: number; readonly max: number };

/** Thrown for what RE2 would not compile. */
export class ExpressionSyntaxError extends Error {}

interface Flags {
  readonly foldCase: boolean;
  readonly multiLine: boolean;
  readonly dotAll: boolean;
}

export function parseExpression(pattern: string): Expression {
  const parser = new ExpressionParser(pattern);
  return parser.parse();
}

/** `{123456789,123456789}`: no count is longer, so that nobody makes us look for its end for long. */
const longestCount = 21;

const newline = 10;
const between =
  (low: number, high: number): CodePointTest =>
  (point) =>
    point >= low && point <= high;
const digit = between(48, 57);
const lower = between(97, 122);
const upper = between(65, 90);
const anyOf =
  (...tests: CodePointTest[]): CodePointTest =>
  (point) =>
    tests.some((test) => test(point));
const oneOf = (characters: string): CodePointTest => {
  const points = new Set(Array.from(characters, (character) => character.codePointAt(0)));
  return (point) => points.has(point);
};
const not =
  (test: CodePointTest): CodePointTest =>
  (point) =>
    !test(point);

export const isWord: CodePointTest = anyOf(digit, lower, upper, oneOf('_'));
const isSpace = oneOf('\t\n\f\r ');
const perlClasses: Readonly<Record<string, CodePointTest>> = {
  d: digit,
  D: not(digit),
  w: isWord,
  W: not(isWord),
  s: isSpace,
  S: not(isSpace),
};
const graph = between(33, 126);
const posixClasses: Readonly<Record<string, CodePointTest>> = {
  alnum: anyOf(digit, lower, upper),
  alpha: anyOf(lower, upper),
  ascii: between(0, 127),
  blank: oneOf('\t '),
  cntrl: anyOf(between(0, 31), between(127, 127)),
  digit,
  graph,
  lower,
  print: between(32, 126),
  punct: (point) => graph(point) && !digit(point) && !lower(point) && !upper(point),
  space: oneOf('\t\n\v\f\r '),
  upper,
  word: isWord,
  xdigit: anyOf(digit, between(65, 70), between(97, 102)),
};
const assertions: Readonly<Record<string, Assertion>> = {
  A: 'text-start',
  z: 'text-end',
  b: 'word',
  B: 'no-word',
};
const controls: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

function folded(test: CodePointTest): CodePointTest {
  return (point) => {
    if (test(point)) return true;
    const text = String.fromCodePoint(point);
    const low = text.toLowerCase();
    const high = text.toUpperCase();
    return (
      (low !== text && test(low.codePointAt(0) as number)) ||
      (high !== text && test(high.codePointAt(0) as number))
    );
  };
}

class ExpressionParser {
  readonly #points: readonly string[];
  #next = 0;
  #depth = 0;
  #flags: Flags = { foldCase: false, multiLine: false, dotAll: false };

  constructor(pattern: string) {
    this.#points = Array.from(pattern);
  }

  parse(): Expression {
    const expression = this.#either();
    if (this.#next < this.#points.length) throw new ExpressionSyntaxError('unexpected )');
    return expression;
  }

  #peek(ahead = 0): string | undefined {
    return this.#points[this.#next + ahead];
  }

  #take(): string {
    const point = this.#points[this.#next];
    if (point === undefined) throw new ExpressionSyntaxError('ends too early');
    this.#next += 1;
    return point;
  }

  #accept(text: string): boolean {
    if (!Array.from(text).every((point, index) => this.#peek(index) === point)) return false;
    this.#next += text.length;
    return true;
  }

  #either(): Expression {
    this.#depth += 1;
    if (this.#depth > limits.regExpDepth) throw new ExpressionSyntaxError('nests too deeply');
    const parts = [this.#sequence()];
    while (this.#accept('|')) parts.push(this.#sequence());
    this.#depth -= 1;
    return parts.length === 1 ? (parts[0] as Expression) : { kind: 'either', parts };
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    for (let next = this.#peek(); next !== undefined && next !== '|' && next !== ')'; next = this.#peek()) {
      if (this.#accept('\\Q')) parts.push(...this.#literalRun());
      else {
        const atom = this.#atom();
        if (atom !== undefined) parts.push(this.#repeated(atom));
      }
    }
    return { kind: 'sequence', parts };
  }

  #literalRun(): Expression[] {
    const parts: Expression[] = [];
    while (this.#peek() !== undefined && !this.#accept('\\E')) parts.push(this.#point(this.#take()));
    // A repetition after the run means its last character.
    const last = parts.pop();
    return last === undefined ? parts : [...parts, this.#repeated(last)];
  }

  #repeated(part: Expression): Expression {
    const range = this.#repetition();
    if (range === undefined) return part;
    this.#accept('?');
    if (this.#repetition() !== undefined)
      throw new ExpressionSyntaxError('invalid nested repetition operator');
    return { kind: 'repeat', part, ...range };
  }

  #repetition(): { min: number; max: number } | undefined {
    if (this.#accept('*')) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.#accept('+')) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.#accept('?')) return { min: 0, max: 1 };
    if (this.#peek() !== '{') return undefined;
    // RE2 takes a brace that is not a count as itself.
    const match = /^\{(?<min>\d{1,9})(?<open>,(?<max>\d{1,9})?)?\}/.exec(
      this.#points.slice(this.#next, this.#next + longestCount).join(''),
    );
    if (match === null) return undefined;
    const min = Number(match.groups?.['min']);
    const upTo = match.groups?.['max'];
    const max =
      upTo !== undefined
        ? Number(upTo)
        : match.groups?.['open'] === undefined
          ? min
          : Number.POSITIVE_INFINITY;
    if (min > limits.regExpRepeat || (Number.isFinite(max) && max > limits.regExpRepeat) || max < min)
      throw new ExpressionSyntaxError('invalid repeat count');
    this.#next += match[0].length;
    return { min, max };
  }

  #atom(): Expression | undefined {
    const next = this.#take();
    switch (next) {
      case '(':
        return this.#group();
      case '[':
        return this.#test(this.#class());
      case '.':
        return this.#flags.dotAll ? this.#test(() => true) : this.#test((point) => point !== newline);
      case '^':
        return { kind: 'assert', assertion: this.#flags.multiLine ? 'line-start' : 'text-start' };
      case '$':
        return { kind: 'assert', assertion: this.#flags.multiLine ? 'line-end' : 'text-end' };
      case '*':
      case '+':
      case '?':
        throw new ExpressionSyntaxError(`missing argument to repetition operator: ${next}`);
      case '\\': {
        const assertion = this.#peek() ?? '';
        if (!Object.hasOwn(assertions, assertion)) return this.#test(this.#escape());
        this.#next += 1;
        return { kind: 'assert', assertion: assertions[assertion] as Assertion };
      }
      default:
        return this.#point(next);
    }
  }

  /** Undefined for a group that only sets flags. */
  #group(): Expression | undefined {
    const outer = this.#flags;
    if (this.#accept('?')) {
      if (this.#accept('P<') || this.#accept('<')) {
        const end = this.#points.indexOf('>', this.#next);
        if (!/^\w+$/.test(this.#points.slice(this.#next, Math.max(end, this.#next)).join('')))
          throw new ExpressionSyntaxError('invalid named capture');
        this.#next = end + 1;
      } else if (this.#setFlags()) return undefined;
    }
    const inner = this.#either();
    if (!this.#accept(')')) throw new ExpressionSyntaxError('missing closing )');
    this.#flags = outer;
    return inner;
  }

  /** True when the group ended with the flags, which then hold to the end of the enclosing group. */
  #setFlags(): boolean {
    let value = true;
    const flags = { ...this.#flags };
    for (;;) {
      const flag = this.#take();
      if (flag === 'i') flags.foldCase = value;
      else if (flag === 'm') flags.multiLine = value;
      else if (flag === 's') flags.dotAll = value;
      else if (flag === '-' && value) value = false;
      else if (flag === ':' || flag === ')') {
        this.#flags = flags;
        return flag === ')';
      } else if (flag !== 'U') throw new ExpressionSyntaxError('invalid or unsupported group');
    }
  }

  #class(): CodePointTest {
    const negated = this.#accept('^');
    const tests: CodePointTest[] = [];
    for (let first = true; first || this.#peek() !== ']'; first = false) {
      if (this.#accept('[:')) {
        tests.push(this.#posixClass());
        continue;
      }
      const low = this.#classPoint();
      if (typeof low !== 'number') {
        tests.push(low);
        continue;
      }
      if (this.#peek() !== '-' || this.#peek(1) === ']') {
        tests.push(between(low, low));
        continue;
      }
      this.#next += 1;
      const high = this.#classPoint();
      if (typeof high !== 'number' || high < low)
        throw new ExpressionSyntaxError('invalid character class range');
      tests.push(between(low, high));
    }
    this.#next += 1;
    const test = this.#flags.foldCase ? folded(anyOf(...tests)) : anyOf(...tests);
    return negated ? not(test) : test;
  }

  #posixClass(): CodePointTest {
    const negated = this.#accept('^');
    const end = this.#points.indexOf(':', this.#next);
    const name = this.#points.slice(this.#next, Math.max(end, this.#next)).join('');
    const test = Object.hasOwn(posixClasses, name) ? posixClasses[name] : undefined;
    if (test === undefined || this.#points[end + 1] !== ']')
      throw new ExpressionSyntaxError('invalid character class');
    this.#next = end + 2;
    return negated ? not(test) : test;
  }

  #classPoint(): number | CodePointTest {
    const next = this.#take();
    return next === '\\' ? this.#escaped() : (next.codePointAt(0) as number);
  }

  #escape(): CodePointTest {
    const escaped = this.#escaped();
    return typeof escaped === 'number' ? this.#fold(between(escaped, escaped)) : escaped;
  }

  #escaped(): number | CodePointTest {
    const name = this.#take();
    if (Object.hasOwn(perlClasses, name)) return perlClasses[name] as CodePointTest;
    if (Object.hasOwn(controls, name)) return controls[name] as number;
    if (name === 'p' || name === 'P') return this.#unicodeClass(name === 'P');
    if (name === 'x') return this.#hexadecimal();
    if (/[0-7]/.test(name)) {
      // A single non-zero digit would be a back reference, which RE2 refuses.
      let digits = name;
      while (digits.length < 3 && /[0-7]/.test(this.#peek() ?? '')) digits += this.#take();
      if (digits.length < 2 && name !== '0') throw new ExpressionSyntaxError('invalid escape sequence');
      return Number.parseInt(digits, 8);
    }
    if (/[\p{L}\p{N}_]/u.test(name)) throw new ExpressionSyntaxError('invalid escape sequence');
    return name.codePointAt(0) as number;
  }

  #hexadecimal(): number {
    let digits = '';
    if (this.#accept('{')) {
      for (let next = this.#take(); next !== '}'; next = this.#take()) digits += next;
    } else digits = this.#take() + this.#take();
    const point = /^[0-9a-fA-F]{1,6}$/.test(digits) ? Number.parseInt(digits, 16) : Number.NaN;
    if (!(point <= 0x10ffff)) throw new ExpressionSyntaxError('invalid escape sequence');
    return point;
  }

  #unicodeClass(negatedByCase: boolean): CodePointTest {
    let name = this.#take();
    if (name === '{') {
      name = '';
      for (let next = this.#take(); next !== '}'; next = this.#take()) name += next;
    }
    const negated = name.startsWith('^') !== negatedByCase;
    const bare = name.replace('^', '');
    if (!/^[A-Z][A-Za-z_]*$/.test(bare)) throw new ExpressionSyntaxError('invalid character class');
    const property = [`\\p{${bare}}`, `\\p{Script=${bare}}`]
      .map(tryProperty)
      .find((test) => test !== undefined);
    if (property === undefined) throw new ExpressionSyntaxError('invalid character class');
    return negated ? not(property) : property;
  }

  #fold(test: CodePointTest): CodePointTest {
    return this.#flags.foldCase ? folded(test) : test;
  }

  #test(test: CodePointTest): Expression {
    return { kind: 'point', test };
  }

  #point(character: string): Expression {
    const point = character.codePointAt(0) as number;
    return this.#test(this.#fold(between(point, point)));
  }
}

function tryProperty(source: string): CodePointTest | undefined {
  try {
    // One code point against one class: nothing that could backtrack.
    const expression = new RegExp(`^${source}$`, 'u');
    return (point) => expression.test(String.fromCodePoint(point));
  } catch {
    return undefined;
  }
}
