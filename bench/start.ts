/**
 * The start of containers: one `ctr run` after the other, several at once, and task create and start as a connected
 * client sees them against bare runc on the same root file system and spec.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type GantryClient, type Mount, specOf } from '../src/client/index.ts';
import { until } from '../src/testing/until.ts';
import type { Daemon } from '../test/support/daemon.ts';
import type { Registry } from '../test/support/registry.ts';
import { run } from '../test/support/run.ts';
import { type Paired, takeTurns, time } from './compare.ts';

const rounds = 25;
const createRounds = 25;
const batchRounds = 7;
const batchRuns = 32;

/** runc's state of the peer is the machine's: names of another bench must not be met there. */
const prefix = `start-${randomBytes(4).toString('hex')}`;
let serial = 0;
const nextId = (): string => {
  serial += 1;
  return `${prefix}-${serial}`;
};

export async function starts(ours: Daemon, peer: Daemon, registry: Registry): Promise<Paired[]> {
  const image = registry.reference('busybox');
  for (const daemon of [ours, peer]) await daemon.ctr('images', 'pull', '--plain-http', image);
  const once = (daemon: Daemon) => (): Promise<number> => time(() => runOnce(daemon, image));
  const atMost = { target: { kind: 'ratio', atMost: 0.5 } } as const;
  const results = [await takeTurns('ctr run --rm --null-io true', rounds, once(ours), once(peer), atMost)];
  const keeper = nextId();
  await ours.ctr('run', '-d', '--null-io', image, keeper, 'sleep', '100000');
  results.push(
    await takeTurns('the same while another container runs', rounds, once(ours), once(peer), atMost),
  );
  await ours.ctr('tasks', 'rm', '-f', keeper);
  await ours.ctr('containers', 'rm', keeper);
  for (const width of [4, 16]) {
    const batch = (daemon: Daemon) => (): Promise<number> => runsPerSecond(daemon, image, width);
    results.push(
      await takeTurns(`runs per second, ${width} at once`, batchRounds, batch(ours), batch(peer), {
        unit: '/s',
        target: { kind: 'ratio', atLeast: 1.8 },
      }),
    );
  }
  results.push(await againstRunc(ours, image));
  return results;
}

const runOnce = (daemon: Daemon, image: string): Promise<string> =>
  daemon.ctr('run', '--rm', '--null-io', image, nextId(), 'true');

async function runsPerSecond(daemon: Daemon, image: string, width: number): Promise<number> {
  let left = batchRuns;
  const worker = async (): Promise<void> => {
    for (; left > 0; ) {
      left -= 1;
      await runOnce(daemon, image);
    }
  };
  const tookMs = await time(() => Promise.all(Array.from({ length: width }, worker)));
  return (batchRuns * 1000) / tookMs;
}

/** Create and start by a client that is connected already, and by runc itself, without its daemon. */
async function againstRunc(daemon: Daemon, image: string): Promise<Paired> {
  await using gantry = connect({ address: daemon.address });
  const dir = await mkdtemp(join(tmpdir(), 'gantry-bench-runc-'));
  try {
    return await takeTurns(
      'task create + start by a connected client, against bare runc create + start',
      createRounds,
      () => throughDaemon(gantry, daemon, image),
      () => throughRunc(gantry, daemon, image, dir),
      { target: { kind: 'difference', atMost: 40 } },
    );
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function throughDaemon(gantry: GantryClient, daemon: Daemon, image: string): Promise<number> {
  const id = nextId();
  await daemon.ctr('containers', 'create', image, id, 'true');
  const rootfs = await gantry.snapshots('overlayfs').mounts(id);
  const task = gantry.tasks.task(id);
  const tookMs = await time(async () => {
    await gantry.tasks.create(id, { rootfs });
    await task.start();
  });
  await task.wait();
  await task.delete();
  await daemon.ctr('containers', 'rm', id);
  return tookMs;
}

async function throughRunc(
  gantry: GantryClient,
  daemon: Daemon,
  image: string,
  dir: string,
): Promise<number> {
  const id = nextId();
  await daemon.ctr('containers', 'create', image, id, 'true');
  const bundle = join(dir, id);
  const rootfs = join(bundle, 'rootfs');
  const pidFile = join(bundle, 'pid');
  await mkdir(rootfs, { recursive: true });
  const spec = specOf(await gantry.containers.get(id)) as object;
  await writeFile(join(bundle, 'config.json'), JSON.stringify({ ...spec, root: { path: rootfs } }));
  for (const mount of await gantry.snapshots('overlayfs').mounts(id)) await mountAt(mount, rootfs);
  const runc = (...words: string[]): Promise<void> =>
    runQuietly('runc', ['--root', join(dir, 'runc'), ...words]);
  try {
    return await time(async () => {
      await runc('create', '--bundle', bundle, '--pid-file', pidFile, id);
      await runc('start', id);
    });
  } finally {
    const pid = (await readFile(pidFile, 'utf8')).trim();
    await until('the process has ended', async () => !(await isRunning(pid)));
    await runc('delete', id);
    await run('umount', [rootfs]);
    await daemon.ctr('containers', 'rm', id);
  }
}

const mountAt = ({ type, source, options }: Mount, target: string): Promise<string> =>
  run('mount', ['-t', type, source, '-o', options.join(','), target]);

/** A zombie of init's has ended too. */
async function isRunning(pid: string): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  return stat !== undefined && !stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
}

/** Without pipes: `runc create` hands them to the container, and their end would be awaited. */
function runQuietly(file: string, args: readonly string[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const child = spawn(file, args, { stdio: 'ignore' });
  child.once('error', reject);
  child.once('exit', (code) => {
    if (code === 0) resolve();
    else reject(new Error(`${file} ${args.join(' ')} exited ${code}`));
  });
  return promise;
}
