/** The real `ctr` against one daemon's socket. */
import { attempt, type Outcome, type RunOptions, run } from './run.ts';

export interface Ctr {
  readonly binary: string;
  /** Standard output of a command that must succeed. */
  (...args: string[]): Promise<string>;
  /** The outcome, whatever it is. */
  attempt(args: readonly string[], options?: RunOptions): Promise<Outcome>;
}

export function ctrOf(binary: string, address: string): Ctr {
  const withAddress = (args: readonly string[]): string[] => ['-a', address, ...args];
  return Object.assign((...args: string[]) => run(binary, withAddress(args)), {
    binary,
    attempt: (args: readonly string[], options?: RunOptions) => attempt(binary, withAddress(args), options),
  });
}

/** Debian's own ctr 1.6. */
export const debianCtr = '/usr/bin/ctr';
