/** Numbers and times as people read and write them. */
import { type Instant, msOfInstant } from '../base/time.ts';
import { usage } from './failure.ts';

const sizeUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function formatSize(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), sizeUnits.length - 1);
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${sizeUnits[power]}`;
}

const ages: readonly [name: string, seconds: number][] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['week', 7 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** `3 hours ago`, by the largest unit that fits. */
export function formatAge(then: Instant, nowMs: number): string {
  const seconds = Math.floor((nowMs - msOfInstant(then)) / 1000);
  const [name, unit] = ages.find(([, each]) => seconds >= each) ?? ['second', 1];
  const count = Math.floor(seconds / unit);
  return count < 1 ? 'just now' : `${count} ${name}${count === 1 ? '' : 's'} ago`;
}

/** `4.2 s`, `1 min 03 s`. */
export function formatDuration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

const multipliers: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};

/** `512m`, `1.5g`, `1GiB`, or plain bytes; the units are powers of 1024. Fails with a usage error. */
export function parseSize(text: string, option: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text.trim());
  const multiplier = multipliers[(match?.[2] ?? '').toLowerCase()];
  const bytes = Math.floor(Number(match?.[1]) * (multiplier ?? Number.NaN));
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw usage(
      `${option} ${JSON.stringify(text)} is not a size`,
      'write it like 512m, 2g or a number of bytes',
    );
  return bytes;
}

/** A whole number that is not negative. Fails with a usage error. */
export function parseCount(text: string, option: string): number {
  const count = Number(text);
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(count))
    throw usage(`${option} ${JSON.stringify(text)} is not a number`, 'write it like 10');
  return count;
}

/** More than 0, fractions allowed. Fails with a usage error. */
export function parseAmount(text: string, option: string): number {
  const amount = Number(text);
  if (!/^[0-9]*\.?[0-9]+$/.test(text) || !(amount > 0) || !Number.isFinite(amount))
    throw usage(`${option} ${JSON.stringify(text)} is not an amount`, 'write it like 0.5 or 2');
  return amount;
}

/** `90`, `90s`, `5m`, `1h`; seconds without a unit. In milliseconds. Fails with a usage error. */
export function parseDurationMs(text: string, option: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?$/.exec(text);
  if (match === null)
    throw usage(`${option} ${JSON.stringify(text)} is not a duration`, 'write it like 10, 90s or 5m');
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? 's'] as number;
  return Number(match[1]) * unit;
}
