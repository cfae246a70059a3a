/**
 * `npm test`: every test and check of the house in one run of node:test, whose closing lines and exit code are ours.
 * `--checks` leaves out all but types, lint, format and tidy; other arguments are test files to run instead of all.
 *
 * Test files run two at a time, each in a process of its own. Newer peers to compare with are unpacked first; where
 * they cannot be had, tests take Debian's own and say so.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..');
const { positionals, checks } = parseArguments(process.argv.slice(2));

const patterns = checks
  ? ['tools/tidy/*.test.ts']
  : ['src/**/*.test.ts', 'tools/**/*.test.ts', 'test/**/*.test.ts'];
const files = positionals.length > 0 ? positionals : globSync(patterns, { cwd: root }).toSorted();

const env: NodeJS.ProcessEnv = { ...process.env };
if (!checks) {
  // Launchers are run by many tests at once: what is stale is built once, before.
  run('npm', ['run', '--silent', 'build']);
  env['GANTRY_PEERS'] ??= unpackPeers();
}

const test = spawnSync(
  process.execPath,
  [
    '--test',
    '--test-concurrency=2',
    '--test-timeout=300000',
    '--test-reporter=spec',
    '--disable-warning=ExperimentalWarning',
    ...files,
  ],
  { cwd: root, stdio: 'inherit', env },
);
process.exit(test.status ?? 1);

function parseArguments(given: readonly string[]): { positionals: string[]; checks: boolean } {
  return { positionals: given.filter((word) => word !== '--checks'), checks: given.includes('--checks') };
}

function run(file: string, args: readonly string[]): void {
  const { status } = spawnSync(file, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** Folder of the peers. The script itself says on stderr what it could not get. */
function unpackPeers(): string {
  const folder =
    process.env['GANTRY_PEERS'] ??
    path.join(
      process.env['XDG_CACHE_HOME'] ?? path.join(process.env['HOME'] ?? '/root', '.cache'),
      'gantry/peers',
    );
  console.log(`peers to compare with, in ${folder}:`);
  const { status } = spawnSync(path.join(root, 'tools/peers.sh'), [folder], { cwd: root, stdio: 'inherit' });
  if (status !== 0) console.log('peers: not all can be had; tests take what Debian installed');
  return folder;
}
