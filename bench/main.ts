/**
 * Whole-process comparisons against real containerd, taking turns in one run: `npm run bench`, or only some of it:
 * `npm run bench -- start pull`.
 *
 * The same ctr (2.1) drives both, over the same registry, runc and file system. Prints a Markdown table of medians
 * with their spread, the median of the paired ratios (of times and sizes, below 1: we are faster or smaller), and
 * what it was meant to be.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { type Daemon, startGantry, startPeer } from '../test/support/daemon.ts';
import { peerBinaries } from '../test/support/peers.ts';
import { type Registry, startRegistry } from '../test/support/registry.ts';
import { attempt, run } from '../test/support/run.ts';
import { type Paired, report, type Target, takeTurns, time } from './compare.ts';
import { onPrivateNode, pssMb } from './memory.ts';
import { pullSuites } from './pull.ts';
import { starts } from './start.ts';

const ingestRounds = 5;
const ingestBytes = 128 * 1024 * 1024;
/** runc's state of the peer is the machine's, not the daemon's. */
const memoryPrefix = `memory-${randomBytes(4).toString('hex')}`;

async function ingests(ours: Daemon, peer: Daemon): Promise<Paired> {
  const dir = await mkdtemp(join(tmpdir(), 'gantry-bench-'));
  const blob = join(dir, 'blob');
  await run('dd', [
    'if=/dev/urandom',
    `of=${blob}`,
    'bs=1M',
    `count=${ingestBytes / 1024 / 1024}`,
    'status=none',
  ]);
  const digest = `sha256:${(await run('sha256sum', [blob])).split(' ')[0]}`;
  const ingest = (daemon: Daemon) => async (): Promise<number> => {
    const took = await time(() =>
      run('sh', [
        '-c',
        'exec "$0" -a "$1" content ingest bench <"$2"',
        daemon.ctr.binary,
        daemon.address,
        blob,
      ]),
    );
    await daemon.ctr('content', 'rm', digest);
    await daemon.ctr('leases', 'create', '--id', 'collect');
    await daemon.ctr('leases', 'delete', '--sync', 'collect');
    return took;
  };
  try {
    return await takeTurns(
      'content ingest of 128 MB (ctr content ingest)',
      ingestRounds,
      ingest(ours),
      ingest(peer),
      { target: { kind: 'ratio', atMost: 1 } },
    );
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** Containers, and what share of containerd's memory they may take. */
const memoryTargets: ReadonlyMap<number, Target | undefined> = new Map([
  [0, undefined],
  [10, { kind: 'ratio', atMost: 1 }],
  [50, { kind: 'ratio', atMost: 0.45 }],
  [200, { kind: 'ratio', atMost: 0.25 }],
]);

/** With daemons that have done nothing else than the pull of one small image; memory-table.ts waits for rest. */
async function memory(registry: Registry): Promise<Paired[]> {
  await using ours = await startGantry();
  await using peer = await startPeer();
  const image = registry.reference('busybox');
  for (const daemon of [ours, peer]) await daemon.ctr('images', 'pull', '--plain-http', image);
  const results: Paired[] = [];
  const measure = async (daemon: Daemon): Promise<number> =>
    pssMb(dirname(daemon.address), (commandLine) => commandLine.includes('docker-registry'));
  let started = 0;
  for (const [count, target] of memoryTargets) {
    for (; started < count; started += 1)
      for (const daemon of [ours, peer])
        await daemon.ctr('run', '-d', '--null-io', image, `${memoryPrefix}-${started}`, 'sleep', '100000');
    results.push({
      title: `PSS of daemon and shims, ${count === 0 ? 'idle' : `${count} containers`}`,
      unit: 'MB',
      ours: [await measure(ours)],
      peer: [await measure(peer)],
      ...(target === undefined ? {} : { target }),
    });
  }
  return results;
}

const suites = {
  memory,
  start: withDaemons(starts),
  ...Object.fromEntries(Array.from(pullSuites, ([name, suite]) => [name, withDaemons(suite)])),
  ingest: withDaemons(async (ours, peer) => [await ingests(ours, peer)]),
} satisfies Record<string, (registry: Registry) => Promise<Paired[]>>;

function withDaemons(
  suite: (ours: Daemon, peer: Daemon, registry: Registry) => Promise<Paired[]>,
): (registry: Registry) => Promise<Paired[]> {
  return async (registry) => {
    await using ours = await startGantry();
    await using peer = await startPeer();
    return await suite(ours, peer, registry);
  };
}

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.filter((name) => !Object.hasOwn(suites, name));
  if (unknown.length > 0)
    throw new Error(`no such bench: ${unknown.join(', ')}; there are ${Object.keys(suites).join(', ')}`);
  await using registry = await startRegistry();
  console.log(
    `Linux ${release()}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${await peerVersion()}\n`,
  );
  console.log('| what | gantry (min-max) | peer (min-max) | compared | target |\n|---|---|---|---|---|');
  for (const [name, suite] of Object.entries(suites))
    if (names.length === 0 || names.includes(name))
      for (const result of await suite(registry)) console.log(report(result));
}

async function peerVersion(): Promise<string> {
  const { stdout } = await attempt(join(await peerBinaries(), 'containerd'), ['--version']);
  return `containerd ${stdout.split(' ')[2] ?? 'of unknown version'}`;
}

onPrivateNode();
await main(process.argv.slice(2));
