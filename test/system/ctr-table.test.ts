/** The table of every subcommand of ctr in docs/status.md: none is missing, and what works names tests that run it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { debianCtr } from '../support/ctr.ts';
import { peerBinaries } from '../support/peers.ts';
import { run } from '../support/run.ts';

const root = join(import.meta.dirname, '../..');

/** Other words of ctr for the same command, as the tests use them. */
const otherNames: Readonly<Record<string, readonly string[]>> = {
  containers: ['container', 'c'],
  delete: ['rm', 'del', 'remove'],
  images: ['image', 'i'],
  list: ['ls'],
  mounts: ['m'],
  namespaces: ['namespace', 'ns'],
  plugins: ['plugin'],
  remove: ['rm', 'delete'],
  snapshots: ['snapshot'],
  tasks: ['task', 't'],
};

interface Row {
  readonly state: string;
  readonly tests: readonly string[];
}

function tableRows(): Map<string, Row> {
  const line = /^\| `ctr (?<command>[a-z -]+)` \| (?<state>[^|]+) \| (?<tests>[^|]*) \|$/gm;
  const rows = new Map<string, Row>();
  for (const { groups = {} } of readFileSync(join(root, 'docs/status.md'), 'utf8').matchAll(line)) {
    const { command = '', state = '', tests = '' } = groups;
    assert.ok(!rows.has(command), `${command} stands twice`);
    rows.set(command, { state, tests: [...tests.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file) });
  }
  return rows;
}

/** The commands below `words` that have none below themselves, by what ctr says of itself. */
async function leaves(ctr: string, words: readonly string[] = []): Promise<string[]> {
  const help = await run(ctr, [...words, '--help']);
  const [, listed = ''] = /^COMMANDS:\n(.*?)\n\n/ms.exec(help) ?? [];
  const names = [...listed.matchAll(/^ +([a-z][a-z-]*)(?:,| {2,})/gm)].map(([, name = '']) => name);
  const below = names.filter((name) => name !== 'help');
  if (below.length === 0) return [words.join(' ')];
  const found: string[] = [];
  for (const name of below) found.push(...(await leaves(ctr, [...words, name])));
  return found;
}

/** Finds the words one after the other, as arguments apart or in one line. */
function callOf(command: string): RegExp {
  const words = command.split(' ').map((word) => `(?:${[word, ...(otherNames[word] ?? [])].join('|')})`);
  return new RegExp(`['"\`\\s]${words.join(`(?: |',\\s*')`)}['"\`\\s]`);
}

test('every subcommand of ctr 1.6 and 2.1 has a row, and no row is of something else', async () => {
  const commands = new Set([
    ...(await leaves(debianCtr)),
    ...(await leaves(join(await peerBinaries(), 'ctr'))),
  ]);
  const rows = tableRows();
  assert.deepEqual(
    {
      missing: [...commands].filter((command) => !rows.has(command)),
      unknown: [...rows.keys()].filter((command) => !commands.has(command)),
    },
    { missing: [], unknown: [] },
  );
});

test('a subcommand that works names tests which run it', () => {
  for (const [command, { state, tests }] of tableRows()) {
    if (!state.startsWith('works')) continue;
    assert.ok(tests.length > 0, `${command} names no test`);
    for (const file of tests)
      assert.match(readFileSync(join(root, file), 'utf8'), callOf(command), `${file} does not run it`);
  }
});
