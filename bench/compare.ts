/**
 * Paired timing: A and B take turns, each round gives one ratio, and what counts is the median of the ratios. The
 * machine's drift hits both alike.
 */
export interface Paired {
  readonly title: string;
  readonly unit: 'ms' | 'MB' | '/s';
  readonly ours: readonly number[];
  readonly peer: readonly number[];
  /** What the figure is meant to be, on the side of `kind`; none when absent. */
  readonly target?: Target;
}

/** Of the median of the ratios, or of the differences. */
export interface Target {
  readonly kind: 'ratio' | 'difference';
  readonly atMost?: number;
  readonly atLeast?: number;
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
  { unit = 'ms', target }: Pick<Partial<Paired>, 'unit' | 'target'> = {},
): Promise<Paired> {
  const values = { ours: [] as number[], peer: [] as number[] };
  const result: Paired = { title, unit, ...values, ...(target === undefined ? {} : { target }) };
  for (let round = 0; round <= rounds; round += 1) {
    const pair = round % 2 === 0 ? [await ours(), await peer()] : [await peer(), await ours()].reverse();
    if (round === 0) continue;
    values.ours.push(pair[0] as number);
    values.peer.push(pair[1] as number);
  }
  return result;
}

/** Milliseconds that `work` takes. */
export async function time(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

/** A row: both medians with their spread, the median of the paired ratios (or differences), and the target. */
export function report({ title, unit, ours, peer, target }: Paired): string {
  const digits = unit === 'ms' ? 0 : 1;
  const show = (values: readonly number[]): string =>
    `${median(values).toFixed(digits)} ${unit} (${Math.min(...values).toFixed(0)}-${Math.max(...values).toFixed(0)})`;
  const isDifference = target?.kind === 'difference';
  const compared = median(
    ours.map((value, index) => {
      const other = peer[index] as number;
      return isDifference ? value - other : value / other;
    }),
  );
  const figure = isDifference ? `+${compared.toFixed(0)} ${unit}` : compared.toFixed(2);
  return `| ${title} | ${show(ours)} | ${show(peer)} | **${figure}** | ${verdict(compared, target)} |`;
}

function verdict(value: number, target: Target | undefined): string {
  if (target === undefined) return '';
  const { atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY } = target;
  const words = target.atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
  return `${words}: ${value <= atMost && value >= atLeast ? 'held' : 'MISSED'}`;
}
