/**
 * What daemon and shim hold is what their containers need, and goes with them: descriptors, memory, mounts, FIFOs,
 * cgroups, zombies, threads and timers are back where they were after many execs, creations and attachments.
 *
 * Short by default; GANTRY_LEAKS=long does 2,000 execs, 2,000 creations and 200 attachments.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { attachStreams, makeStreams, type ProcessStreams } from '../../src/client/index.ts';
import { selectPlatform } from '../../src/platform/select.ts';
import { mountsBelow } from '../../src/testing/held.ts';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { TaskLab } from '../support/task-lab.ts';

const isLong = process.env['GANTRY_LEAKS'] === 'long';
const rounds = isLong
  ? { execs: 2000, creations: 2000, attachments: 200 }
  : { execs: 60, creations: 24, attachments: 20 };
const timeout = isLong ? 3_600_000 : 120_000;
/** Before anything is counted: code is loaded, caches and pools have their size. */
const warmUp = { execs: 20, creations: 8, attachments: 4 };
const atOnce = 4;
/** Memory that may come and go by itself, and what each round may keep of it on average. */
const slackKb = 12 * 1024;
const perRoundBytes = isLong ? 1024 : 16 * 1024;

const asRoot = { cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 } };

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/** Kinds of what a process has open, and how many of each. Names of single sockets and files tell nothing. */
function descriptors(pid: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let target: string;
    try {
      target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      continue;
    }
    const kind = target.replace(/:\[\d+\]$/, '').replace(/^\/tmp\/.*\/(?=[^/]*$)/, '');
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

const named = (owner: string, counts: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).map(([what, count]) => [`${owner} ${what}`, count]));

const statusField = (pid: number, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Children that ended and were not waited for. */
async function zombies(pids: readonly number[]): Promise<number> {
  const { stdout } = await attempt('ps', ['-A', '-o', 'ppid=,stat=']);
  return lines(stdout).filter((line) => {
    const [parent, state] = line.trim().split(/\s+/);
    return state?.startsWith('Z') && pids.includes(Number(parent));
  }).length;
}

describe('nothing is left behind', { concurrency: 1 }, () => {
  let registry: Registry;
  let daemon: Daemon;
  let lab: TaskLab;
  let shimPid: number;
  let fifoDir: string;

  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startGantry();
    lab = await TaskLab.open(daemon, registry.reference('busybox'));
    fifoDir = await mkdtemp(join(tmpdir(), 'gantry-leaks-'));
    await lab.run('stays', ['sleep', '100000']);
    const { stdout } = await attempt('pgrep', ['-f', `${daemon.state}.* serve$`]);
    assert.equal(lines(stdout).length, 1, 'one shim holds all');
    shimPid = Number(stdout);
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (fifoDir) await rm(fifoDir, { recursive: true });
  });

  /** Timers and requests that the daemon's loop waits for, from its own dump, which collects garbage first. */
  async function dump(): Promise<{ waitingFor: Record<string, number>; heapBytes: number }> {
    const file = join(daemon.state, 'gantryd.dump');
    await rm(file, { force: true });
    process.kill(daemon.pid, 'SIGUSR1');
    let text = '';
    await until('the daemon has written its dump', () => {
      text = readFileSync(file, 'utf8');
      return text.endsWith('}\n');
    });
    const { waitingFor, memory } = JSON.parse(text);
    return { waitingFor, heapBytes: memory.heapUsed };
  }

  async function held(): Promise<Record<string, number>> {
    const dir = dirname(daemon.address);
    const count = async (...args: string[]): Promise<number> =>
      lines((await attempt('find', args)).stdout).length;
    return {
      ...named('daemon', descriptors(daemon.pid)),
      ...named('shim', descriptors(shimPid)),
      ...named('loop waits for', (await dump()).waitingFor),
      'daemon threads': statusField(daemon.pid, 'Threads'),
      'shim threads': statusField(shimPid, 'Threads'),
      mounts: mountsBelow(dir).length,
      FIFOs: (await count(dir, '-type', 'p')) + (await count(fifoDir, '-type', 'p')),
      'files of the state': await count(daemon.state, '-xdev'),
      // runc makes them by the namespace's name where the spec has no path of its own.
      cgroups: await count('/sys/fs/cgroup', '-type', 'd', '-path', `*${lab.namespace}*`),
      zombies: await zombies([daemon.pid, shimPid]),
    };
  }

  async function memoryHeld(): Promise<{ daemonHeapBytes: number; shimKb: number }> {
    return { daemonHeapBytes: (await dump()).heapBytes, shimKb: statusField(shimPid, 'RssAnon') };
  }

  /** Runs `round` for each number, some at a time. */
  async function repeat(count: number, name: string, round: (id: string) => Promise<void>): Promise<void> {
    const left = Array.from({ length: count }, (_, index) => `${name}-${index}`);
    const worker = async (): Promise<void> => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) await round(id);
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }

  async function leavesNothing(
    context: TestContext,
    kind: keyof typeof rounds,
    round: (id: string) => Promise<void>,
  ): Promise<void> {
    await repeat(warmUp[kind], `warm-${kind}`, round);
    const [heldFirst, memoryFirst] = [await held(), await memoryHeld()];
    await repeat(rounds[kind], kind, round);
    let tooMuch: string[] = [];
    await until('no more is held than was', async () => {
      const now = await held();
      tooMuch = Object.keys(now)
        .filter((what) => (now[what] ?? 0) > (heldFirst[what] ?? 0))
        .map((what) => `${what}: ${now[what]}, was ${heldFirst[what] ?? 0}`);
      return tooMuch.length === 0;
    }).catch(() => assert.deepEqual(tooMuch, []));
    const memoryAfter = await memoryHeld();
    const allowedBytes = slackKb * 1024 + rounds[kind] * perRoundBytes;
    const grown = {
      daemonBytes: memoryAfter.daemonHeapBytes - memoryFirst.daemonHeapBytes,
      shimBytes: (memoryAfter.shimKb - memoryFirst.shimKb) * 1024,
    };
    context.diagnostic(`memory of ${rounds[kind]} rounds: ${JSON.stringify(grown)}`);
    for (const [name, bytes] of Object.entries(grown))
      assert.ok(bytes < allowedBytes, `${name} grew by ${bytes} in ${rounds[kind]} rounds`);
  }

  test(`${rounds.execs} execs`, { timeout }, async (context) => {
    const task = lab.client.tasks.task('stays');
    await leavesNothing(context, 'execs', async (execId) => {
      const exec = await task.exec({ execId, process: { ...asRoot, args: ['true'] } });
      const ended = exec.wait();
      await exec.start();
      assert.equal((await ended).exitStatus, 0);
      await exec.delete();
    });
  });

  test(`${rounds.creations} containers created, run and deleted`, { timeout }, async (context) => {
    await leavesNothing(context, 'creations', async (id) => {
      await lab.create(id, ['true']);
      const task = lab.client.tasks.task(id);
      const ended = task.wait();
      await task.start();
      assert.equal((await ended).exitStatus, 0);
      await task.delete();
      await lab.ctr('containers', 'rm', id);
    });
  });

  test(`${rounds.attachments} clients that attach to a container and leave`, { timeout }, async (context) => {
    const { files } = await selectPlatform();
    const options = { makeFifo: files.makeFifo.bind(files), directory: fifoDir };
    await using first = await makeStreams(options, { stdin: true, terminal: false });
    await lab.run('talks', ['cat'], first.paths);
    first.leave();
    // One after the other, for only one of those attached gets each byte.
    let turn: Promise<void> = Promise.resolve();
    await leavesNothing(context, 'attachments', (word) => {
      turn = turn.then(async () => {
        const streams = attachStreams(first.paths);
        await echo(streams, word);
        streams.leave();
      });
      return turn;
    });
  });
});

/** Writes a line and waits for it to come back. */
async function echo({ stdin, stdout }: ProcessStreams, text: string): Promise<void> {
  assert.ok(stdin !== undefined && stdout !== undefined);
  const { promise, resolve } = Promise.withResolvers<void>();
  let seen = '';
  stdout.on('data', (chunk: Buffer) => {
    seen += chunk.toString();
    if (seen === `${text}\n`) resolve();
  });
  stdin.write(`${text}\n`);
  await promise;
}
