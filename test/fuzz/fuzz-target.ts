/**
 * What a fuzz target is: one parser of outside bytes, what it takes, by which codes it may refuse, and what must hold
 * of all that it lets pass.
 */
import assert from 'node:assert/strict';
import { ContainerdError, type ErrorCode } from '../../src/base/errors.ts';

export interface FuzzTarget {
  /** As it is called on the command line. */
  readonly name: string;
  /** Inputs that the parser takes; a test says so. Mutation starts from these and from `hostile`. */
  readonly seeds: readonly (string | Uint8Array)[];
  /** Inputs that broke a parser once, or are likely to. Taken or refused, they are checked as all others. */
  readonly hostile?: readonly (string | Uint8Array)[];
  /** Words of the format that mutation puts in. */
  readonly words?: readonly string[];
  /** Of one input; 4096 when it does not say. */
  readonly maxBytes?: number;
  /** Codes by which the parser may refuse; none for a parser that promises never to throw. */
  readonly refusals: readonly ErrorCode[];
  /** Puts right what mutation breaks and the parser looks at first: checksums, lengths. */
  mend?(input: Buffer): Buffer;
  /** Parses, and asserts what must hold of the outcome; what the parser throws passes through. */
  check(input: Buffer): void | Promise<void>;
}

/** CPU time of one input, of all threads: a parser takes microseconds to milliseconds, whatever comes. */
const maxCpuMs = 2_000;
/** A message may show what came, each character as an escape, and say something to it. */
const messageBound = (input: Buffer): number => 12 * input.length + 4096;

/** One input. Errors: anything that a parser must not do, as it was thrown or as AssertionError. */
export async function runInput(target: FuzzTarget, input: Buffer): Promise<'taken' | 'refused'> {
  const start = process.cpuUsage();
  const outcome = await judge(target, input);
  const { user, system } = process.cpuUsage(start);
  const cpuMs = (user + system) / 1000;
  assert.ok(cpuMs < maxCpuMs, `${Math.round(cpuMs)} ms of CPU time for ${input.length} bytes`);
  return outcome;
}

async function judge(target: FuzzTarget, input: Buffer): Promise<'taken' | 'refused'> {
  try {
    await target.check(input);
    return 'taken';
  } catch (error) {
    if (!(error instanceof ContainerdError) || !target.refusals.includes(error.code)) throw error;
    assert.ok(error.message.length <= messageBound(input), `a message of ${error.message.length} characters`);
    return 'refused';
  }
}

/** What was taken once must be taken again, printed or read another way: a refusal here is a fault. */
export function mustTake<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new assert.AssertionError({ message: `${what} is refused: ${String(error)}` });
  }
}

/** The input as cuts of sizes that depend on nothing but the input: a parser must not care how bytes come. */
export function piecesOf(input: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  let state = input.length + 1;
  for (let at = 0; at < input.length; ) {
    state = (Math.imul(state, 1_103_515_245) + (input[at] ?? 0) + 12_345) >>> 0;
    const sizeBytes = 1 + ((state >>> 16) % 97);
    pieces.push(input.subarray(at, at + sizeBytes));
    at += sizeBytes;
  }
  return pieces;
}

/** A parser of text gets what a client's library would make of the bytes. */
export const textOf = (input: Buffer): string => input.toString('utf8');
