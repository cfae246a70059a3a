/** Signals by name, number or both, as kill(1) takes them. */
import { constants } from 'node:os';
import { usage } from './failure.ts';

const numbers: Readonly<Record<string, number>> = constants.signals;

/** `TERM`, `SIGTERM`, `15`. Fails with a usage error. */
export function parseSignal(text: string, option: string): number {
  const upper = text.toUpperCase();
  const byName = numbers[upper] ?? numbers[`SIG${upper}`];
  if (byName !== undefined) return byName;
  const number = Number(text);
  if (/^[0-9]{1,2}$/.test(text) && number >= 1 && number <= 64) return number;
  throw usage(`${option} ${JSON.stringify(text)} is not a signal`, 'write it like TERM, SIGTERM or 15');
}

export const signalNumber = (signal: NodeJS.Signals): number => numbers[signal] ?? 15;
