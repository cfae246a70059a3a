/** Parses WWW-Authenticate (RFC 9110, section 11.6.1): how a registry wants to be convinced. */
import { limits } from '../../base/limits.ts';

export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const parameter =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z:/?@-]+))/y;
const separators = /[ \t,]*/y;
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/** All challenges of the header's values, in order. What cannot be read ends the reading, what came before counts. */
export function parseChallenges(values: readonly string[]): Challenge[] {
  return values.flatMap((value) => (value.length > limits.challengeBytes ? [] : parseValue(value)));
}

function parseValue(text: string): Challenge[] {
  const challenges: Challenge[] = [];
  let place = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = place;
    const match = pattern.exec(text);
    if (match !== null) place = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(separators);
    const scheme = take(token);
    if (scheme === null) return challenges;
    const parameters = new Map<string, string>();
    challenges.push({ scheme: scheme[0].toLowerCase(), parameters });
    for (;;) {
      take(separators);
      const match = take(parameter);
      if (match === null) break;
      const name = (match[1] as string).toLowerCase();
      const value = match[2]?.replace(/\\(.)/g, '$1') ?? match[3] ?? '';
      if (!parameters.has(name)) parameters.set(name, value);
    }
    // The other form of credentials that the grammar knows; no scheme of ours uses it.
    if (parameters.size === 0 && text[place - 1] === ' ') take(token68);
  }
}
