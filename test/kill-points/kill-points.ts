/**
 * Kills the daemon, its shim, or both, again and again and at any moment, while users work; then counts what was lost.
 * Replayable as far as the machine's own timing allows: the seed decides every choice and every pause.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, hasCode } from '../../src/client/index.ts';
import { mountsBelow } from '../../src/testing/held.ts';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';
import { LastingClient } from './connection.ts';
import { Ledger } from './ledger.ts';
import { Random } from './random.ts';
import { endWitness, live, makeWitness, messageOf, type World } from './stories.ts';

export interface KillPlan {
  readonly seed: number;
  readonly points: number;
  readonly users: number;
  readonly witnesses: number;
  /** Hears of each kill. */
  readonly onKill?: (line: string) => void;
}

export interface KillReport {
  readonly counts: Readonly<Record<string, number>>;
  /** One sentence for each broken promise. */
  readonly broken: readonly string[];
}

const namespace = 'kill-points';
/** One hierarchy stands for all of them. */
const cgroupParent = `/sys/fs/cgroup/pids/${namespace}`;
const longestPauseMs = 400;
type Victim = 'daemon' | 'shim' | 'both';
const victims: readonly Victim[] = ['daemon', 'daemon', 'shim', 'shim', 'shim', 'both'];

export async function killPoints(plan: KillPlan): Promise<KillReport> {
  await using registry = await startRegistry(['busybox', 'debian']);
  await using daemon = await startGantry();
  const image = registry.reference('busybox');
  const ledger = new Ledger();
  const enough = new AbortController();
  await daemon.ctr('-n', namespace, 'images', 'pull', '--plain-http', image);
  const listening = listen(daemon, ledger, enough.signal);

  const worldOf = (name: string, client: LastingClient): World => ({
    client,
    ledger,
    random: new Random(plan.seed, name),
    image,
    pulled: registry.reference('debian'),
  });
  await using client = new LastingClient(daemon.address, namespace);
  const world = worldOf('witnesses', client);
  const witnesses = new Map<string, number>();
  for (let index = 0; index < plan.witnesses; index += 1)
    witnesses.set(`witness-${index}`, await makeWitness(world, `witness-${index}`));

  const users = Array.from({ length: plan.users }, async (_, index) => {
    const name = `user-${index}`;
    await using own = new LastingClient(daemon.address, namespace);
    const isEnough = () => enough.signal.aborted;
    await live(worldOf(name, own), { name, pulls: index === plan.users - 1, enough: isEnough });
  });
  try {
    await kill(plan, daemon, ledger, () => look(world, witnesses));
  } finally {
    enough.abort();
    await Promise.all([...users, listening]);
  }
  for (const id of witnesses.keys())
    await endWitness(world, id).catch((error: unknown) => ledger.break(`${id}: ${messageOf(error)}`));
  await lookForLeftovers(daemon, world);
  return { counts: ledger.counts, broken: ledger.broken };
}

async function kill(
  { seed, points, onKill }: KillPlan,
  daemon: Daemon,
  ledger: Ledger,
  lookAround: () => Promise<void>,
): Promise<void> {
  const random = new Random(seed, 'killer');
  for (let point = 1; point <= points; point += 1) {
    await pause(random.below(longestPauseMs));
    const victim = random.pick(victims);
    onKill?.(`${point}/${points}: ${victim}`);
    if (victim !== 'daemon') for (const pid of shimsOf(daemon)) process.kill(pid, 'SIGKILL');
    if (victim !== 'shim') {
      await daemon.kill();
      await pause(random.below(longestPauseMs));
      await daemon.start();
    }
    ledger.count(`kills of ${victim}`);
    await lookAround();
  }
}

/** Every witness is a task that runs, by the same process as ever. */
async function look({ client, ledger }: World, witnesses: ReadonlyMap<string, number>): Promise<void> {
  const tasks = await client.call('list tasks', (gantry) => gantry.tasks.list());
  for (const [id, pid] of witnesses) {
    const task = tasks?.find((state) => state.id === id);
    if (task?.pid !== pid || task.status !== 'running')
      ledger.break(
        `${id} (pid ${pid}) is ${task === undefined ? 'lost' : `${task.status}, pid ${task.pid}`}`,
      );
    ledger.count('looks at witnesses');
  }
}

/** Hears what is told while somebody tells it: a daemon that is dead tells nothing. */
async function listen({ address }: Daemon, ledger: Ledger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await using gantry = connect({ address, namespace });
    try {
      for await (const { topic, fields } of gantry.events.subscribe([`namespace==${namespace}`], { signal }))
        ledger.heard(topic, fields ?? {});
    } catch (error) {
      if (!hasCode(error, 'Unavailable') && !hasCode(error, 'Canceled')) throw error;
    }
    if (!signal.aborted) await pause(10);
  }
}

/** Pids of processes with this daemon's state directory among their words that serve as its shims. */
function shimsOf({ state }: Daemon): number[] {
  return processesWith(state).filter((pid) => wordsOf(pid).includes('serve'));
}

function processesWith(path: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => wordsOf(pid).some((word) => word.includes(path)));
}

function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** All stories are told: nothing of theirs is left. */
async function lookForLeftovers(daemon: Daemon, { client, ledger }: World): Promise<void> {
  const left = async (): Promise<string[]> => {
    const tasks = (await client.call('list tasks', (gantry) => gantry.tasks.list())) ?? [];
    const containers = (await client.call('list containers', (gantry) => gantry.containers.list())) ?? [];
    const mounts = [daemon.state, daemon.root].flatMap((directory) => mountsBelow(directory));
    const cgroups = existsSync(cgroupParent)
      ? readdirSync(cgroupParent, { withFileTypes: true }).filter((entry) => entry.isDirectory())
      : [];
    return [
      ...tasks.map(({ id, status }) => `task ${id} (${status})`),
      ...containers.map(({ id }) => `container ${id}`),
      ...mounts.map((point) => `mount ${point}`),
      ...cgroups.map(({ name }) => `cgroup ${name}`),
    ];
  };
  try {
    await until('nothing is left', async () => (await left()).length === 0, { timeoutMs: 10_000 });
  } catch {
    for (const thing of await left()) ledger.break(`left over: ${thing}`);
  }
}
