/** `gantry why` and `gantry du` against a daemon with an image, a container and leases. Needs root. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';
import { attempt, type Outcome } from '../support/run.ts';

const program = join(import.meta.dirname, '../../bin/gantry');
const gantry = (daemon: Daemon, ...args: string[]): Promise<Outcome> =>
  attempt(program, ['-a', daemon.address, ...args]);

async function printed(daemon: Daemon, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await gantry(daemon, ...args);
  assert.equal(status, 0, stderr);
  return stdout;
}

interface Thing {
  readonly kind: string;
  readonly id: string;
}

interface Why {
  readonly explanations: readonly (Thing & {
    readonly kept: boolean;
    readonly chain: readonly (Thing & { readonly why: string })[];
    readonly roots: readonly (Thing & { readonly expiresAt: string | null })[];
    readonly keptUntil: string | null;
  })[];
  readonly nextCollection: {
    readonly running: boolean;
    readonly dueAt: string | null;
    readonly writesNeeded: number;
  };
}

const why = async (daemon: Daemon, ...args: string[]): Promise<Why> =>
  JSON.parse(await printed(daemon, 'why', ...args, '-o', 'json')) as Why;

interface Usage {
  readonly totals: Readonly<Record<string, number>>;
  readonly entries: readonly (Thing & {
    readonly namespace: string;
    readonly contentBytes: number;
    readonly snapshotBytes: number;
    readonly sharedBytes: number;
    readonly uniqueBytes: number;
    readonly garbage: boolean;
  })[];
}

const usage = async (daemon: Daemon, ...args: string[]): Promise<Usage> =>
  JSON.parse(await printed(daemon, 'du', ...args, '-o', 'json')) as Usage;

test('why: an image keeps its layers, a container its file system, a lease what it holds, nothing the rest', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry({
    // Nothing is collected but when asked for.
    config: `[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = "1h"\npause_threshold = 0.000001\nmutation_threshold = 100000\n`,
  });
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  await daemon.ctr('run', '-d', image, 'stays', 'sleep', '1000');

  const layer = (await usage(daemon, '--by', 'content')).entries.toSorted(
    (a, b) => b.contentBytes - a.contentBytes,
  )[0];
  const [held, ...more] = (await why(daemon, layer?.id ?? '', '--kind', 'content')).explanations;
  assert.deepEqual(more, []);
  assert.equal(held?.kept, true);
  assert.deepEqual(held?.chain[0], { kind: 'image', id: image, why: 'an image' });
  assert.deepEqual(held?.chain.at(-1), {
    kind: 'content',
    id: layer?.id,
    why: 'label containerd.io/gc.ref.content.l.0',
  });
  assert.match(
    await printed(daemon, 'why', (layer?.id ?? '').slice(0, 20)),
    /└─ content sha256:[0-9a-f]{64}: label /,
  );

  const chains = (await why(daemon, 'stays', '--kind', 'snapshot')).explanations;
  assert.deepEqual(
    chains[0]?.chain.map(({ kind, id, why: reason }) => [kind, id, reason]),
    [
      ['container', 'stays', 'a container'],
      ['snapshot', 'overlayfs/stays', 'the root file system of the container'],
    ],
  );
  // The layer's snapshot is kept by the image through its config, and by the container as a parent.
  const parent = (await usage(daemon, '--by', 'snapshot')).entries.find(({ id }) =>
    id.startsWith('overlayfs/sha256:'),
  );
  const both = (await why(daemon, parent?.id ?? '')).explanations[0];
  assert.deepEqual(both?.roots.map(({ kind }) => kind).toSorted(), ['container', 'image']);

  await daemon.ctr('leases', 'create', '--id', 'holder', '--expires', '1h');
  await daemon.ctr('tasks', 'kill', '-s', 'KILL', 'stays');
  await daemon.ctr('tasks', 'delete', 'stays').catch(() => '');
  await daemon.ctr('containers', 'delete', 'stays');
  await daemon.ctr('images', 'rm', image);
  const loose = (await why(daemon, layer?.id ?? '', '--kind', 'content')).explanations[0];
  assert.deepEqual([loose?.kept, loose?.chain], [false, []]);
  const text = await printed(daemon, 'why', layer?.id ?? '', '--kind', 'content');
  assert.match(text, /nothing keeps it: it goes with the next collection, in \d/);
  const before = await usage(daemon);
  assert.ok((before.totals['garbageBytes'] ?? 0) >= (layer?.contentBytes ?? Number.NaN));

  const lease = (await why(daemon, 'holder')).explanations[0];
  const until = Date.parse(lease?.keptUntil ?? '') - Date.now();
  assert.ok(until > 0 && until <= 3_600_000, String(lease?.keptUntil));
  await daemon.ctr('leases', 'delete', '--sync', 'holder');
  const gone = await gantry(daemon, 'why', layer?.id ?? '');
  assert.equal(gone.status, 1);
  assert.match(gone.stderr, /nothing is called .*\nhint: it may have been collected already/);
  const after = await usage(daemon);
  assert.deepEqual(
    [after.totals['contentBytes'], after.totals['snapshotBytes'], after.totals['garbageBytes']],
    [0, 0, 0],
  );
});

test('du: sizes agree with the disk, shared and unique add up, short names are understood', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry();
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  await daemon.ctr('images', 'tag', image, 'docker.io/library/other:latest');
  await daemon.ctr(
    'run',
    '-d',
    image,
    'writes',
    'sh',
    '-c',
    'dd if=/dev/zero of=/big bs=1M count=3; sleep 1000',
  );
  const { entries, totals } = await usage(daemon);
  const images = entries.filter(({ kind }) => kind === 'image');
  assert.equal(images.length, 2);
  for (const each of images) {
    // Both names need the same, so neither would free anything.
    assert.equal(each.uniqueBytes, 0);
    assert.equal(each.contentBytes + each.snapshotBytes, each.sharedBytes);
  }
  assert.equal(images[0]?.contentBytes, totals['contentBytes']);
  const blobs = join(daemon.root, 'io.containerd.content.v1.content/blobs/sha256');
  const { stdout } = await attempt('find', [blobs, '-type', 'f', '-printf', '%s\n']);
  const onDisk = stdout
    .trim()
    .split('\n')
    .reduce((sum, size) => sum + Number(size), 0);
  assert.equal(totals['contentBytes'], onDisk);
  assert.equal(totals['garbageBytes'], 0);
  assert.match(await printed(daemon, 'why', 'other'), /^image docker\.io\/library\/other:latest\n/);
  const text = await printed(daemon, 'du');
  assert.match(text, /^CONTENT +UNPACKED +SHARED +UNIQUE +IMAGE$/m);
  assert.match(text, /^CONTENT +UNPACKED +SHARED +UNIQUE +CONTAINER$/m);
  assert.match(text, /B in all: 3 blobs .* uploads 0 B$/m);
  assert.match(await printed(daemon, 'du', '--by', 'content'), /HOLDERS +CONTENT\n/);
  assert.match(await printed(daemon, 'du', '--no-walk'), /\+ +writes$|\d+\.\d \w+\+/m);
  assert.match(await printed(daemon, 'du', '--all-namespaces'), /^NAMESPACE +CONTENT/m);
});

test('a daemon that cannot tell is named', async () => {
  await using peer = await startPeer();
  for (const command of [['why', 'x'], ['du']]) {
    const { status, stderr } = await gantry(peer, ...command);
    assert.equal(status, 1);
    assert.match(stderr, /this daemon cannot .*\nhint: gantryd can/);
  }
});
