/**
 * Whole-process comparisons against real containerd, taking turns in one run: `npm run bench`.
 *
 * The same ctr (2.1) drives both, over the same registry, runc and file system. Prints a Markdown table of medians
 * with their spread, and the median of the paired ratios (below 1: we are faster or smaller).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { type Daemon, startGantry, startPeer } from '../test/support/daemon.ts';
import { type Registry, startRegistry } from '../test/support/registry.ts';
import { run } from '../test/support/run.ts';
import { type Paired, report, takeTurns, time } from './compare.ts';
import { pssMb } from './memory.ts';

const pullRounds = 5;
const runRounds = 15;
const ingestRounds = 5;
const ingestBytes = 128 * 1024 * 1024;

/** Image gone, its content and snapshots collected, the page cache cold: so that each pull does all of the work. */
async function forget(daemon: Daemon, reference: string): Promise<void> {
  await daemon.ctr.attempt(['images', 'rm', '--sync', reference]);
  await run('sync', []);
  await writeFile('/proc/sys/vm/drop_caches', '3');
}

async function pull(daemon: Daemon, reference: string, ...flags: string[]): Promise<number> {
  await forget(daemon, reference);
  return time(() => daemon.ctr('images', 'pull', '--plain-http', ...flags, reference));
}

async function pulls(ours: Daemon, peer: Daemon, registry: Registry): Promise<Paired[]> {
  const reference = registry.reference('debian');
  const results: Paired[] = [];
  for (const [title, flags] of [
    ['pull and unpack, 6 layers, 75 MB, in the daemon (ctr images pull)', []],
    ['pull and unpack, 6 layers, 75 MB, by the client (ctr images pull --local)', ['--local']],
  ] as const)
    results.push(
      await takeTurns(
        title,
        pullRounds,
        () => pull(ours, reference, ...flags),
        () => pull(peer, reference, ...flags),
      ),
    );
  return results;
}

let serial = 0;

async function runs(ours: Daemon, peer: Daemon, registry: Registry): Promise<Paired[]> {
  const image = registry.reference('busybox');
  for (const daemon of [ours, peer]) await daemon.ctr('images', 'pull', '--plain-http', image);
  const once = (daemon: Daemon) => (): Promise<number> => {
    serial += 1;
    return time(() => daemon.ctr('run', '--rm', '--null-io', image, `bench-${serial}`, 'true'));
  };
  const results = [await takeTurns('ctr run --rm --null-io true', runRounds, once(ours), once(peer))];
  await ours.ctr('run', '-d', image, 'keeps-the-shim', 'sleep', '100000');
  results.push(await takeTurns('the same while another container runs', runRounds, once(ours), once(peer)));
  await ours.ctr('tasks', 'rm', '-f', 'keeps-the-shim');
  await ours.ctr('containers', 'rm', 'keeps-the-shim');
  return results;
}

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
    );
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function memory(ours: Daemon, peer: Daemon, registry: Registry): Promise<Paired[]> {
  const image = registry.reference('busybox');
  const results: Paired[] = [];
  const measure = async (daemon: Daemon): Promise<number> =>
    pssMb(dirname(daemon.address), (commandLine) => commandLine.includes('docker-registry'));
  let started = 0;
  for (const count of [0, 10, 50]) {
    for (; started < count; started += 1)
      for (const daemon of [ours, peer])
        await daemon.ctr('run', '-d', '--null-io', image, `memory-${started}`, 'sleep', '100000');
    results.push({
      title: `PSS of daemon and shims, ${count === 0 ? 'idle' : `${count} containers`}`,
      unit: 'MB',
      ours: [await measure(ours)],
      peer: [await measure(peer)],
    });
  }
  return results;
}

async function main(): Promise<void> {
  await using registry = await startRegistry();
  const results: Paired[] = [];
  {
    // Memory first, with daemons that have done nothing else than the pull of one small image.
    await using ours = await startGantry();
    await using peer = await startPeer();
    for (const daemon of [ours, peer])
      await daemon.ctr('images', 'pull', '--plain-http', registry.reference('busybox'));
    results.push(...(await memory(ours, peer, registry)));
  }
  await using ours = await startGantry();
  await using peer = await startPeer();
  const version = (await peer.ctr('version')).match(/Server:\s+Version:\s+(\S+)/)?.[1];
  results.push(
    ...(await runs(ours, peer, registry)),
    ...(await pulls(ours, peer, registry)),
    await ingests(ours, peer),
  );
  console.log(
    `Linux ${release()}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, containerd ${version}\n`,
  );
  console.log('| what | gantry (min-max) | containerd (min-max) | ratio |\n|---|---|---|---|');
  for (const result of results) console.log(report(result));
}

await main();
