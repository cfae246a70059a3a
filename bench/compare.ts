/**
 * Paired timing: A and B take turns, each round gives one ratio, and what counts is the median of the ratios. The
 * machine's drift hits both alike.
 */
export interface Paired {
  readonly title: string;
  readonly unit: 'ms' | 'MB';
  readonly ours: readonly number[];
  readonly peer: readonly number[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Runs `ours` and `peer` in turn, `rounds` times after one round that does not count. */
export async function takeTurns(
  title: string,
  rounds: number,
  ours: () => Promise<number>,
  peer: () => Promise<number>,
): Promise<Paired> {
  const result = { title, unit: 'ms' as const, ours: [] as number[], peer: [] as number[] };
  for (let round = 0; round <= rounds; round += 1) {
    const pair = round % 2 === 0 ? [await ours(), await peer()] : [await peer(), await ours()].reverse();
    if (round === 0) continue;
    result.ours.push(pair[0] as number);
    result.peer.push(pair[1] as number);
  }
  return result;
}

/** Milliseconds that `work` takes. */
export async function time(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

export function report({ title, unit, ours, peer }: Paired): string {
  const ratios = ours.map((value, index) => value / (peer[index] as number));
  const show = (values: readonly number[]): string =>
    `${median(values).toFixed(unit === 'ms' ? 0 : 1)} ${unit} (${Math.min(...values).toFixed(0)}-${Math.max(...values).toFixed(0)})`;
  return `| ${title} | ${show(ours)} | ${show(peer)} | **${median(ratios).toFixed(2)}** |`;
}
