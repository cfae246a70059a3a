/** `gantry check` against a daemon that runs, and on the root of one that does not. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mountsBelow } from '../../src/testing/held.ts';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';
import { attempt, type Outcome } from '../support/run.ts';

const gantry = join(import.meta.dirname, '../../bin/gantry');

interface Report {
  readonly left: number;
  readonly repaired: number;
  readonly findings: readonly {
    readonly kind: string;
    readonly severity: string;
    readonly what: string;
    readonly where: string;
    readonly breaks: readonly string[];
    readonly outcome: string;
  }[];
}

const check = (daemon: Daemon, ...args: string[]): Promise<Outcome> =>
  attempt(gantry, ['-a', daemon.address, 'check', '--digests', 'full', ...args]);

const offline = (daemon: Daemon, ...args: string[]): Promise<Outcome> =>
  attempt(gantry, ['check', '--digests', 'full', '--root', daemon.root, '--state', daemon.state, ...args]);

function reportOf(outcome: Outcome): Report {
  assert.equal(outcome.stderr, '');
  return JSON.parse(outcome.stdout) as Report;
}

const blobsOf = (daemon: Daemon): string =>
  join(daemon.root, 'io.containerd.content.v1.content/blobs/sha256');

test('a daemon is checked while it runs: clean, damaged, repaired', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry();
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  await daemon.ctr('run', '-d', image, 'stays', 'sleep', '1000');

  const clean = await check(daemon);
  assert.equal(clean.status, 0, clean.stdout + clean.stderr);
  assert.match(clean.stdout, /all is well\n$/);

  const [blob = ''] = await readdir(blobsOf(daemon));
  await rm(join(blobsOf(daemon), blob));
  const damaged = await check(daemon, '-o', 'json');
  assert.equal(damaged.status, 1);
  assert.deepEqual(
    reportOf(damaged).findings.map(({ kind, what, breaks }) => ({ kind, what, breaks })),
    [{ kind: 'content-missing', what: `sha256:${blob}`, breaks: [`image ${image} (namespace default)`] }],
  );

  const repaired = await check(daemon, '--repair');
  assert.equal(repaired.status, 0, repaired.stdout + repaired.stderr);
  assert.match(repaired.stdout, new RegExp(`repair: fetched again from ${registry.host}/sample/busybox`));
  assert.ok(existsSync(join(blobsOf(daemon), blob)));
  assert.equal((await check(daemon)).status, 0);
  // Nothing of it touched what runs.
  assert.match(await daemon.ctr('tasks', 'ls'), /stays\s+\d+\s+RUNNING/);
});

test('without a daemon: the root is looked at as it is, and its lock is respected', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry();
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);

  const held = await offline(daemon);
  assert.equal(held.status, 2);
  assert.match(held.stderr, /could not be checked: another gantryd is running on /);

  await daemon.kill();
  const clean = await offline(daemon);
  assert.equal(clean.status, 0, clean.stdout + clean.stderr);

  // An orphan, which the daemon would collect, is told and stays without --repair.
  const orphan = join(blobsOf(daemon), 'ab'.repeat(32));
  await writeFile(orphan, 'orphan');
  const told = await offline(daemon, '-o', 'json');
  assert.equal(told.status, 0);
  assert.deepEqual(
    reportOf(told).findings.map(({ kind, where }) => [kind, where]),
    [['content-orphan', orphan]],
  );
  assert.ok(existsSync(orphan));

  const layers = join(daemon.root, 'io.containerd.snapshotter.v1.overlayfs/snapshots');
  for (const name of await readdir(layers)) await rm(join(layers, name), { recursive: true });
  const [blob = ''] = (await readdir(blobsOf(daemon))).filter((name) => !orphan.endsWith(name));
  await writeFile(join(blobsOf(daemon), blob), 'damaged');
  const repaired = await offline(daemon, '--repair', '-o', 'json');
  assert.equal(repaired.status, 0, repaired.stdout + repaired.stderr);
  assert.deepEqual(
    reportOf(repaired)
      .findings.map(({ kind, outcome }) => `${kind} ${outcome}`)
      .sort(),
    ['content-orphan repaired', 'content-size repaired', 'snapshot-directory-missing repaired'],
  );
  assert.ok(!existsSync(orphan));

  await daemon.start();
  assert.equal((await check(daemon)).status, 0);
  // What was dropped is unpacked again.
  assert.equal(await daemon.ctr('run', '--rm', image, 'again', 'echo', 'works'), 'works\n');
});

test('what cannot be checked is 2: no daemon, no root', async () => {
  const nobody = await attempt(gantry, ['-a', '/nowhere/s.sock', 'check']);
  assert.equal(nobody.status, 2);
  assert.match(nobody.stderr, /hint: start the daemon/);
  const nothing = await attempt(gantry, ['check', '--root', '/nowhere']);
  assert.equal(nothing.status, 2);
  assert.match(nothing.stderr, /there is no store in \/nowhere/);
});

test('what kill -9 leaves behind is gone after the next start', async () => {
  await using daemon = await startGantry();
  await daemon.kill();
  const temp = join(daemon.state, 'io.containerd.differ.v1.walking/mount-left');
  const probe = join(daemon.root, 'io.containerd.snapshotter.v1.overlayfs/check-left');
  const layer = join(daemon.root, 'io.containerd.snapshotter.v1.overlayfs/snapshots/new-left');
  const ingest = join(daemon.root, 'io.containerd.content.v1.content/ingest/left');
  const bundle = join(daemon.state, 'io.containerd.runtime.v2.task/default/left');
  const work = join(daemon.root, 'io.containerd.runtime.v2.task/default/left');
  const orphan = join(blobsOf(daemon), 'cd'.repeat(32));
  for (const directory of [temp, probe, layer, ingest, bundle, work, join(bundle, 'rootfs')])
    await mkdir(directory, { recursive: true });
  await writeFile(orphan, 'orphan');
  for (const mountPoint of [temp, probe, join(bundle, 'rootfs')])
    assert.equal((await attempt('mount', ['-t', 'tmpfs', 'left', mountPoint])).status, 0);
  await daemon.start();
  for (const left of [temp, probe, layer, ingest, bundle, work, orphan])
    await until(`${left} is gone`, () => !existsSync(left));
  assert.deepEqual([...mountsBelow(daemon.root), ...mountsBelow(daemon.state)], []);
  assert.equal((await check(daemon)).status, 0);
});
