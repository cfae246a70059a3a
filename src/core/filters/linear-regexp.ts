/**
 * Regular expressions in RE2's syntax that match in time linear in the text, whoever wrote the expression.
 *
 * JavaScript's own backtrack: `(a+)+$` over a label of 4 KiB would hold the daemon for ever. Here the expression
 * becomes a small program whose threads all advance over one code point at a time (K. Thompson, 1968), so the work is
 * at most program size times text length, and limits.ts bounds the program.
 */
import { limits } from '../../base/limits.ts';
import {
  type Assertion,
  type CodePointTest,
  type Expression,
  ExpressionSyntaxError,
  isWord,
  parseExpression,
} from './linear-regexp-parser.ts';

export interface LinearRegExp {
  /** Whether it matches anywhere in `text`. */
  test(text: string): boolean;
}

/** Undefined for what does not compile or would pass the limit. */
export function compileLinearRegExp(pattern: string): LinearRegExp | undefined {
  if (/^[A-Za-z0-9_/:@-]*$/.test(pattern)) return { test: (text) => text.includes(pattern) };
  try {
    const program: Instruction[] = [];
    emit(program, parseExpression(pattern));
    add(program, { kind: 'match' });
    return { test: (text) => run(program, text) };
  } catch (error) {
    if (error instanceof ExpressionSyntaxError) return undefined;
    throw error;
  }
}

type Instruction =
  | { readonly kind: 'point'; readonly test: CodePointTest }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'fork'; first: number; second: number }
  | { readonly kind: 'jump'; to: number }
  | { readonly kind: 'match' };

function add<Kind extends Instruction>(program: Instruction[], instruction: Kind): Kind {
  if (program.length >= limits.regExpInstructions) throw new ExpressionSyntaxError('expression too large');
  program.push(instruction);
  return instruction;
}

function emit(program: Instruction[], expression: Expression): void {
  switch (expression.kind) {
    case 'point':
    case 'assert':
      add(program, expression);
      return;
    case 'sequence':
      // An empty one costs an instruction too: nested repeats of nothing must meet the limit.
      if (expression.parts.length === 0) add(program, { kind: 'jump', to: program.length + 1 });
      for (const part of expression.parts) emit(program, part);
      return;
    case 'either':
      emitEither(program, expression.parts);
      return;
    case 'repeat':
      emitRepeat(program, expression.part, expression.min, expression.max);
      return;
    default:
      expression satisfies never;
  }
}

function emitEither(program: Instruction[], parts: readonly Expression[]): void {
  const exits: { to: number }[] = [];
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1) emit(program, part);
    else {
      const fork = add(program, { kind: 'fork', first: program.length + 1, second: 0 });
      emit(program, part);
      exits.push(add(program, { kind: 'jump', to: 0 }));
      fork.second = program.length;
    }
  }
  for (const exit of exits) exit.to = program.length;
}

function emitRepeat(program: Instruction[], part: Expression, min: number, max: number): void {
  for (let count = 0; count < min; count += 1) emit(program, part);
  if (max === Number.POSITIVE_INFINITY) {
    const start = program.length;
    const fork = add(program, { kind: 'fork', first: start + 1, second: 0 });
    emit(program, part);
    add(program, { kind: 'jump', to: start });
    fork.second = program.length;
    return;
  }
  const forks: { second: number }[] = [];
  for (let count = min; count < max; count += 1) {
    forks.push(add(program, { kind: 'fork', first: program.length + 1, second: 0 }));
    emit(program, part);
  }
  for (const fork of forks) fork.second = program.length;
}

function run(program: readonly Instruction[], text: string): boolean {
  /** The step at which an instruction was last put on the list, so that each is there once. */
  const seenAt = new Int32Array(program.length).fill(-1);
  let threads: number[] = [];
  let before: number | undefined;
  const points = Array.from(text, (character) => character.codePointAt(0) as number);
  for (let position = 0; position <= points.length; position += 1) {
    const after = points[position];
    const stack = [0, ...threads.toReversed()];
    const waiting: number[] = [];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (seenAt[at] === position) continue;
      seenAt[at] = position;
      const instruction = program[at] as Instruction;
      if (instruction.kind === 'match') return true;
      if (instruction.kind === 'jump') stack.push(instruction.to);
      else if (instruction.kind === 'fork') stack.push(instruction.second, instruction.first);
      else if (instruction.kind === 'point') waiting.push(at);
      else if (holds(instruction.assertion, before, after)) stack.push(at + 1);
    }
    threads = [];
    if (after !== undefined)
      for (const at of waiting) {
        const instruction = program[at] as Instruction;
        if (instruction.kind === 'point' && instruction.test(after)) threads.push(at + 1);
      }
    before = after;
  }
  return false;
}

const newline = 10;
const word = (point: number | undefined): boolean => point !== undefined && isWord(point);

function holds(assertion: Assertion, before: number | undefined, after: number | undefined): boolean {
  switch (assertion) {
    case 'text-start':
      return before === undefined;
    case 'text-end':
      return after === undefined;
    case 'line-start':
      return before === undefined || before === newline;
    case 'line-end':
      return after === undefined || after === newline;
    case 'word':
      return word(before) !== word(after);
    case 'no-word':
      return word(before) === word(after);
    default:
      return assertion satisfies never;
  }
}
