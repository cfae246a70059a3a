/**
 * Runs one scenario of client commands against ours and against the peer, and compares what they answer step by
 * step: exit status, standard output, standard error. The peer is the oracle. GANTRY_DIFFERENTIAL=peer compares the peer
 * with itself, which shows whether a scenario is repeatable at all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { ctrOf, debianCtr } from '../support/ctr.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { normalise, sortLines } from './normalise.ts';

export interface Step {
  /** Arguments of ctr after the address and namespace. `REGISTRY` stands for the registry's host. */
  readonly args: readonly string[];
  readonly input?: string;
  /** What of the answer is compared; all by default. `class`: of an error only its class, where our words say more. */
  readonly compare?: 'all' | 'class' | 'status';
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
      const parts = (['status', 'stdout', 'stderr'] as const)
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
          const differences = expected.flatMap((answer, index) =>
            isDeepStrictEqual(answer, actual[index]) ? [] : [{ expected: answer, actual: actual[index] }],
          );
          assert.equal(differences.length, 0, describeDifferences(differences));
        });
  });
}

function stderrOf(compare: NonNullable<Step['compare']>, stderr: string): string {
  if (compare === 'status') return '';
  return compare === 'all' ? stderr : stderr.slice(stderr.lastIndexOf(': ') + 1);
}

async function perform(
  daemon: Daemon,
  scenario: Scenario,
  version: '1.6' | '2.1',
  namespace: string,
  registry: Registry,
): Promise<Answer[]> {
  const ctr = version === '1.6' ? ctrOf(debianCtr, daemon.address) : daemon.ctr;
  const answers: Answer[] = [];
  const paths = [daemon.root, daemon.state, daemon.address, registry.host];
  for (const one of scenario.steps) {
    const args = one.args.map((arg) => arg.replace('REGISTRY', registry.host));
    let outcome = await attempt(
      ctr.binary,
      ['-a', daemon.address, '-n', namespace, ...args],
      one.input === undefined ? {} : { input: one.input },
    );
    for (
      let tries = 0;
      one.untilStatus !== undefined && outcome.status !== one.untilStatus && tries < 50;
      tries += 1
    )
      outcome = await attempt(ctr.binary, ['-a', daemon.address, '-n', namespace, ...args]);
    const compare = one.compare ?? 'all';
    const tidy = (text: string): string => {
      const normal = normalise(text, { paths });
      return one.unordered === true ? sortLines(normal) : normal;
    };
    answers.push({
      step: one.args.join(' '),
      status: outcome.status,
      stdout: compare === 'status' ? '' : tidy(outcome.stdout),
      stderr: stderrOf(compare, tidy(outcome.stderr)),
    });
  }
  return answers;
}
