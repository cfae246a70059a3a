/** Durations as Go writes them, which is how every duration of config.toml is written: "1h30m", "100ms", "0". */

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Go's durations are 64 bits of nanoseconds: 292 years. */
const longestMs = 2 ** 63 / 1e6;

/** Undefined when the text is no duration, or one that Go could not hold. */
export function parseDurationMs(text: string): number | undefined {
  const sign = text.startsWith('-') ? -1 : 1;
  const rest = text.replace(/^[+-]/, '');
  if (rest === '0') return 0;
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|[\u00b5\u03bc]s|ms|s|m|h))+$/.test(rest)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of rest.matchAll(/([\d.]+)([a-z\u00b5\u03bc]+)/g))
    totalMs += Number(amount) * (unitMs[unit ?? ''] ?? 0);
  return totalMs > longestMs ? undefined : sign * totalMs;
}

/** The shortest such text. */
export function formatDurationMs(durationMs: number): string {
  if (durationMs === 0) return '0s';
  if (!Number.isInteger(durationMs)) return `${Math.round(durationMs * 1e6)}ns`;
  if (durationMs % 1000 !== 0) return `${durationMs}ms`;
  if (durationMs % 60_000 !== 0) return `${durationMs / 1000}s`;
  if (durationMs % 3_600_000 !== 0) return `${durationMs / 60_000}m`;
  return `${durationMs / 3_600_000}h`;
}
