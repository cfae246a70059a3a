/** Which cgroup may be killed (pure), and that a frozen one dies (needs root and a freezer). */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { needsRoot } from '../../testing/needs-root.ts';
import { selectPlatform } from '../select.ts';
import { killCgroupOf, ownDirectory } from './cgroup-kill.ts';
import { type CgroupPaths, cgroupOf } from './cgroup-paths.ts';
import { cgroupProcesses, isFrozen } from './cgroup-processes.ts';

const v1 = (controllers: Record<string, string>): CgroupPaths => ({
  version: 1,
  controllers: new Map(Object.entries(controllers)),
});
const v2 = (path: string): CgroupPaths => ({ version: 2, path });

const cases: readonly (readonly [string, CgroupPaths, CgroupPaths, string | undefined])[] = [
  ['a cgroup of its own', v2('/cg/a'), v2('/cg/daemon'), '/cg/a'],
  ['our own', v2('/cg/a'), v2('/cg/a'), undefined],
  ['one above ours', v2('/cg'), v2('/cg/a'), undefined],
  ['the root, with us in it or below', v2('/'), v2('/a'), undefined],
  ['a neighbour whose name begins like ours', v2('/cg/a'), v2('/cg/ab'), '/cg/a'],
  [
    'of version 1 the freezer',
    v1({ pids: '/pids/a', freezer: '/freezer/a' }),
    v1({ pids: '/pids', freezer: '/freezer' }),
    '/freezer/a',
  ],
  [
    'another controller where the freezer is shared with us',
    v1({ freezer: '/freezer', pids: '/pids/a' }),
    v1({ freezer: '/freezer', pids: '/pids' }),
    '/pids/a',
  ],
  ['none of version 1 that is only theirs', v1({ pids: '/p' }), v1({ pids: '/p' }), undefined],
];

for (const [what, theirs, ours, expected] of cases)
  test(`killed by: ${what}`, () => assert.equal(ownDirectory(theirs, ours), expected));

test('a frozen process dies', { skip: needsRoot('it makes cgroups') }, async () => {
  const { processes } = await selectPlatform();
  const ours = cgroupOf(process.pid);
  const [parent, file, word] =
    ours.version === 2
      ? [ours.path, 'cgroup.freeze', '1']
      : [ours.controllers.get('freezer') ?? '', 'freezer.state', 'FROZEN'];
  const cgroup = join(parent, `gantry-kill-${process.pid}`);
  mkdirSync(cgroup);
  const pid = processes.spawn({ file: 'sleep', args: ['1000'], env: { PATH: '/bin' }, stdio: [] });
  try {
    writeFileSync(join(cgroup, 'cgroup.procs'), String(pid));
    const paths = cgroupOf(pid);
    assert.equal(isFrozen(paths), false);
    writeFileSync(join(cgroup, file), word);
    while (!isFrozen(paths)) await new Promise(setImmediate);
    assert.equal(killCgroupOf(processes, pid), 1);
    assert.equal((await processes.exited(pid)).status, 137);
    assert.equal(readFileSync(join(cgroup, 'cgroup.procs'), 'utf8'), '');
  } finally {
    rmdirSync(cgroup);
  }
});

test('what forks without end dies altogether', {
  skip: needsRoot('it makes cgroups'),
}, async () => {
  const { processes } = await selectPlatform();
  const ours = cgroupOf(process.pid);
  const parent = ours.version === 2 ? ours.path : (ours.controllers.get('freezer') ?? '');
  const cgroup = join(parent, `gantry-forks-${process.pid}`);
  const below = join(cgroup, 'below');
  mkdirSync(below, { recursive: true });
  const folder = mkdtempSync(join(tmpdir(), 'gantry-forks-'));
  const script = `echo $$ > ${below}/cgroup.procs
    next() { : > ${folder}/up; (next) & }
    sleep 1000 & echo $! > ${cgroup}/cgroup.procs
    next; wait`;
  const pid = processes.spawn({ file: 'sh', args: ['-c', script], env: { PATH: '/bin' }, stdio: [] });
  try {
    while (!existsSync(join(folder, 'up'))) await new Promise(setImmediate);
    // The sleeper is in the upper cgroup, which is what is killed then.
    const moved = readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').trim();
    assert.ok(killCgroupOf(processes, Number(moved)) > 0);
    await processes.exited(pid);
    while (cgroupProcesses(cgroup).length > 0) await new Promise(setImmediate);
  } finally {
    // Whatever is left ends when it cannot write there.
    rmSync(folder, { recursive: true });
    rmdirSync(below);
    rmdirSync(cgroup);
  }
});

test('a process in our own cgroup is not killed by it', {
  skip: needsRoot('it makes cgroups'),
}, async () => {
  const { processes } = await selectPlatform();
  assert.throws(() => killCgroupOf(processes, process.pid), { code: 'NotFound' });
});
