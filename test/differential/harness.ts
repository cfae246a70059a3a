/**
 * Runs one scenario of client commands against ours and against the peer, and compares what they answer step by
 * step: exit status, standard output, standard error. The peer is the oracle. GANTRY_DIFFERENTIAL=peer compares the peer
 * with itself, which shows whether a scenario is repeatable at all.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { mountsBelow } from '../../src/testing/held.ts';
import { readTree } from '../../src/testing/tree.ts';
import { until } from '../../src/testing/until.ts';
import { type Ctr, ctrOf, debianCtr } from '../support/ctr.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { normalise, sortLines } from './normalise.ts';

export interface Step {
  /**
   * Arguments of ctr after the address and namespace. `REGISTRY` stands for the registry's host, `TEMP` for a directory
   * of the scenario's own, `SELF` for a name of its own, `<NAME>` for what an earlier step captured.
   */
  readonly args: readonly string[];
  readonly input?: string;
  /**
   * What of the answer is compared; all by default. `class`: of an error only its class, where our words say more.
   * `shape`: the output without its numbers.
   */
  readonly compare?: 'all' | 'class' | 'status' | 'shape';
  /** Kept from standard output for later steps: the first group of each expression. */
  readonly capture?: Readonly<Record<string, RegExp>>;
  /** Afterwards this directory of `TEMP` is compared entry by entry. */
  readonly tree?: string;
  /** Afterwards a file of this name in `TEMP` is written, and how that went is compared. */
  readonly write?: string;
  /** The order of output lines does not count. */
  readonly unordered?: boolean;
  /** Repeated until the status is this: for what happens in the background of both daemons. */
  readonly untilStatus?: number;
}

export interface Scenario {
  readonly name: string;
  readonly steps: readonly Step[];
}

export const step = (line: string, options: Omit<Step, 'args'> = {}): Step => ({
  args: line.split(' '),
  ...options,
});

interface Difference {
  readonly expected: Answer;
  readonly actual: Answer | undefined;
}

const describeDifferences = (differences: readonly Difference[]): string =>
  differences
    .map(({ expected, actual }) => {
      const parts = (['status', 'stdout', 'stderr', 'tree', 'written'] as const)
        .filter((part) => expected[part] !== actual?.[part])
        .map((part) => `  ${part} of the peer: ${expected[part]}\n  ${part} of ours:     ${actual?.[part]}`);
      return [`ctr ${expected.step}`, ...parts].join('\n');
    })
    .join('\n');

interface Answer {
  readonly step: string;
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly tree: string;
  readonly written: string;
}

/** Collection only when a step asks for it: what nothing refers to must not go in the middle of a scenario. */
const rareCollection = '[plugins."io.containerd.gc.v1.scheduler"]\npause_threshold = 0.0001\n';

/** Registers one test a scenario and ctr version. */
export function compareWithPeer(title: string, scenarios: readonly Scenario[]): void {
  describe(title, { concurrency: 1 }, () => {
    let ours: Daemon;
    let peer: Daemon;
    let registry: Registry;
    before(async () => {
      registry = await startRegistry(['busybox']);
      const first = process.env['GANTRY_DIFFERENTIAL'] === 'peer' ? startPeer : startGantry;
      ours = await first({ config: rareCollection });
      peer = await startPeer({ config: rareCollection });
    });
    after(async () => {
      await ours?.[Symbol.asyncDispose]();
      await peer?.[Symbol.asyncDispose]();
      await registry?.[Symbol.asyncDispose]();
    });
    for (const scenario of scenarios)
      for (const version of ['1.6', '2.1'] as const)
        test(`${scenario.name} (ctr ${version})`, async () => {
          const namespace = `${scenario.name.replace(/[^a-z0-9]+/gi, '-')}-${version}`;
          const expected = await perform(peer, scenario, version, namespace, registry);
          const actual = await perform(ours, scenario, version, namespace, registry);
          let differences = differencesBetween(expected, actual);
          if (differences.length > 0) {
            // A busy machine makes the peer lose output now and then. Ours has one try.
            const name = `${namespace}-again`;
            const text = JSON.stringify(await perform(peer, scenario, version, name, registry));
            const again = JSON.parse(text.replaceAll(name, namespace)) as Answer[];
            const still = new Set(differencesBetween(again, actual).map((difference) => difference.actual));
            differences = differences.filter((difference) => still.has(difference.actual));
          }
          assert.equal(differences.length, 0, describeDifferences(differences));
        });
  });
}

const differencesBetween = (expected: readonly Answer[], actual: readonly Answer[]): Difference[] =>
  expected.flatMap((answer, index) =>
    isDeepStrictEqual(answer, actual[index]) ? [] : [{ expected: answer, actual: actual[index] }],
  );

function stderrOf(compare: NonNullable<Step['compare']>, stderr: string): string {
  if (compare === 'status') return '';
  return compare === 'class' ? stderr.slice(stderr.lastIndexOf(': ') + 1) : stderr;
}

/** Entries of a tree as lines. Times of directories depend on what was mounted over them. */
async function treeOf(directory: string): Promise<string> {
  const lines = (await readTree(directory)).map(({ modifiedNs, ...entry }) =>
    JSON.stringify({ ...entry, at: entry.kind === 'directory' ? '' : `${modifiedNs}` }),
  );
  return lines.join('\n');
}

const writeInto = (file: string): Promise<string> =>
  writeFile(file, 'written').then(
    () => 'written',
    (error: NodeJS.ErrnoException) => `${error.code}`,
  );

/** What a scenario has in its hands against one daemon. */
interface Stage {
  readonly ctr: Ctr;
  readonly namespace: string;
  readonly temp: string;
  /** Prefixes that are this run's own. */
  readonly paths: readonly string[];
  readonly registry: Registry;
  readonly captured: Map<string, string>;
}

async function perform(
  daemon: Daemon,
  scenario: Scenario,
  version: '1.6' | '2.1',
  namespace: string,
  registry: Registry,
): Promise<Answer[]> {
  const ctr = version === '1.6' ? ctrOf(debianCtr, daemon.address) : daemon.ctr;
  const temp = await mkdtemp(join(tmpdir(), 'gantry-scenario-'));
  const paths = [daemon.root, daemon.state, daemon.address, registry.host, temp, selfOf(temp)];
  const stage: Stage = { ctr, namespace, temp, paths, registry, captured: new Map() };
  const answers: Answer[] = [];
  try {
    for (const one of scenario.steps) answers.push(await performStep(stage, one));
    return answers;
  } finally {
    await unmountBelow(temp);
    await rm(temp, { recursive: true, force: true });
  }
}

/** The two daemons share one registry: what each pushes has a name of its own. */
const selfOf = (temp: string): string => basename(temp).toLowerCase();

async function performStep(
  { ctr, namespace, temp, paths, registry, captured }: Stage,
  one: Step,
): Promise<Answer> {
  const filled = (arg: string): string =>
    arg
      .replace('REGISTRY', registry.host)
      .replace('TEMP', temp)
      .replace('SELF', selfOf(temp))
      .replace(/<([A-Z]+)>/g, (whole, name: string) => captured.get(name) ?? whole);
  const args = ['-n', namespace, ...one.args.map(filled)];
  const { input, untilStatus, compare = 'all' } = one;
  let outcome = await ctr.attempt(args, input === undefined ? {} : { input });
  if (untilStatus !== undefined && outcome.status !== untilStatus)
    await until(`ctr ${one.args.join(' ')} ends with ${untilStatus}`, async () => {
      outcome = await ctr.attempt(args);
      return outcome.status === untilStatus;
    });
  for (const [name, pattern] of Object.entries(one.capture ?? {}))
    captured.set(name, pattern.exec(outcome.stdout)?.[1] ?? `<no ${name}>`);
  const tidy = (text: string): string => {
    const normal = normalise(text, { paths });
    const shaped = compare === 'shape' ? normal.replace(/\d+(\.\d+)?/g, 'N') : normal;
    return one.unordered === true ? sortLines(shaped) : shaped;
  };
  return {
    step: one.args.join(' '),
    status: outcome.status,
    stdout: compare === 'status' ? '' : tidy(outcome.stdout),
    stderr: stderrOf(compare, tidy(outcome.stderr)),
    tree: one.tree === undefined ? '' : await treeOf(join(temp, one.tree)),
    written: one.write === undefined ? '' : await writeInto(join(temp, one.write)),
  };
}

/** A scenario that ends early leaves mounts. */
async function unmountBelow(directory: string): Promise<void> {
  for (const point of mountsBelow(directory).toReversed()) await attempt('umount', ['-l', point]);
}
