/** One target, run for a number of inputs or a time. What it finds is shrunk and can be tried again by itself. */
import * as fc from 'fast-check';
import { type FuzzTarget, runInput } from './fuzz-target.ts';
import { inputsFor } from './mutation.ts';

export interface FuzzRunOptions {
  readonly seed: number;
  /** Inputs at the most. */
  readonly runs: number;
  readonly timeLimitMs?: number;
  /** Told before each input, so that one that never ends is known. */
  readonly onInput?: (input: Buffer) => void;
}

export interface FuzzFinding {
  readonly input: Buffer;
  readonly error: unknown;
}

export interface FuzzResult {
  readonly taken: number;
  readonly refused: number;
  readonly finding: FuzzFinding | undefined;
}

/** Seeds and hostile inputs as they are come first, then what mutation makes of them. */
export async function fuzz(target: FuzzTarget, options: FuzzRunOptions): Promise<FuzzResult> {
  const counts = { taken: 0, refused: 0 };
  const run = async (input: Buffer): Promise<void> => {
    options.onInput?.(input);
    counts[await runInput(target, input)] += 1;
  };
  for (const seed of [...target.seeds, ...(target.hostile ?? [])])
    try {
      await run(Buffer.from(seed));
    } catch (error) {
      return { ...counts, finding: { input: Buffer.from(seed), error } };
    }
  const details = await fc.check(fc.asyncProperty(inputsFor(target), run), {
    seed: options.seed,
    numRuns: options.runs,
    ...(options.timeLimitMs !== undefined && { interruptAfterTimeLimit: options.timeLimitMs }),
  });
  const input = details.counterexample?.[0];
  return {
    ...counts,
    finding: details.failed && input !== undefined ? { input, error: details.errorInstance } : undefined,
  };
}

/** For people: what was found, and the command that shows it again. */
export function findingText(target: FuzzTarget, { input, error }: FuzzFinding): string {
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const base64 = input.toString('base64');
  const shown = JSON.stringify(input.toString('latin1').slice(0, 200));
  return `${target.name}: ${reason}\n${input.length} bytes: ${shown}\nnpm run fuzz -- ${target.name} --input=${base64}`;
}
