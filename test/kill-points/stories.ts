/**
 * What the users of a daemon do while it is being killed: short stories, each of which knows how it has to end. Every
 * step waits for its answer; a step that was answered counts as promised.
 */
import { createContainer, type GantryClient, hasCode } from '../../src/client/index.ts';
import type { LastingClient } from './connection.ts';
import type { Ledger } from './ledger.ts';
import type { Random } from './random.ts';

export interface World {
  readonly client: LastingClient;
  readonly ledger: Ledger;
  readonly random: Random;
  /** An image that is there. */
  readonly image: string;
  /** One that comes and goes. */
  readonly pulled: string;
}

type Story = (world: World, id: string) => Promise<void>;

const snapshotter = 'overlayfs';
const SIGKILL = 9;

/** The library makes it in steps: what an interrupted try left is taken away, unless it came to its end. */
async function makeContainer(
  gantry: GantryClient,
  image: string,
  id: string,
  args: readonly string[],
): Promise<void> {
  const create = async () =>
    await createContainer(
      { gantry },
      { id, image: await gantry.images.get(image), snapshotter, user: '0', spec: { args } },
    );
  try {
    await create();
  } catch (error) {
    if (!hasCode(error, 'AlreadyExists')) throw error;
    if ((await gantry.containers.list()).some((container) => container.id === id)) return;
    await gantry.snapshots(snapshotter).remove(id);
    await create();
  }
}

async function make({ client, image }: World, id: string, args: readonly string[]): Promise<void> {
  await client.call(`create container ${id}`, (gantry) => makeContainer(gantry, image, id, args));
  await client.call(
    `create task ${id}`,
    async (gantry) =>
      await gantry.tasks.create(id, { rootfs: await gantry.snapshots(snapshotter).mounts(id) }),
    { already: ['AlreadyExists'] },
  );
}

/** An error without a class, as containerd's shim has it. */
const startedBefore = /cannot start a (running|stopped) process/;

async function start({ client, ledger }: World, id: string): Promise<void> {
  await client.call(`start ${id}`, (gantry) => gantry.tasks.task(id).start(), {
    already: [startedBefore],
  });
  ledger.count('started');
}

async function ended({ client, ledger }: World, id: string, expected: number): Promise<void> {
  const end = await client.call(`wait for ${id}`, (gantry) => gantry.tasks.task(id).wait());
  if (end !== undefined) ledger.expectStatus(id, end.exitStatus, expected);
}

async function remove({ client, ledger }: World, id: string, expected: number): Promise<void> {
  const end = await client.call(`delete task ${id}`, (gantry) => gantry.tasks.task(id).delete(), {
    already: ['NotFound'],
  });
  if (end !== undefined) ledger.expectStatus(`${id}, deleted,`, end.exitStatus, expected);
  // The snapshot first: of a container that is gone the collector takes it.
  await client.call(`remove snapshot ${id}`, (gantry) => gantry.snapshots(snapshotter).remove(id), {
    already: ['NotFound'],
  });
  await client.call(`remove container ${id}`, (gantry) => gantry.containers.remove(id), {
    already: ['NotFound'],
  });
}

async function exec({ client, ledger }: World, id: string, execId: string, status: number): Promise<void> {
  const process = {
    args: ['/bin/sh', '-c', `exit ${status}`],
    cwd: '/',
    env: ['PATH=/bin'],
    user: { uid: 0, gid: 0 },
  };
  await client.call(`exec ${execId} in ${id}`, (gantry) => gantry.tasks.task(id).exec({ execId, process }), {
    already: ['AlreadyExists'],
  });
  const named = (gantry: Parameters<Parameters<LastingClient['call']>[1]>[0]) =>
    gantry.tasks.exec(id, execId);
  await client.call(`start ${execId} in ${id}`, (gantry) => named(gantry).start(), {
    already: [startedBefore],
  });
  const end = await client.call(`wait for ${execId} in ${id}`, (gantry) => named(gantry).wait());
  if (end !== undefined) ledger.expectStatus(`${execId} in ${id}`, end.exitStatus, status);
  await client.call(`delete ${execId} in ${id}`, (gantry) => named(gantry).delete(), {
    already: ['NotFound'],
  });
}

const runsToItsEnd: Story = async (world, id) => {
  const status = world.random.below(100);
  await make(world, id, ['/bin/sh', '-c', `sleep 0.${world.random.below(10)}; exit ${status}`]);
  await start(world, id);
  await ended(world, id, status);
  await remove(world, id, status);
};

const isKilled: Story = async (world, id) => {
  await make(world, id, ['/bin/sleep', '1000']);
  await start(world, id);
  for (let round = 0; round < world.random.below(3); round += 1)
    await exec(world, id, `e${round}`, world.random.below(100));
  await world.client.call(`kill ${id}`, (gantry) => gantry.tasks.task(id).kill(SIGKILL), {
    already: ['NotFound'],
  });
  await ended(world, id, 128 + SIGKILL);
  await remove(world, id, 128 + SIGKILL);
};

const isPaused: Story = async (world, id) => {
  await make(world, id, ['/bin/sleep', '1000']);
  await start(world, id);
  await world.client.call(`pause ${id}`, (gantry) => gantry.tasks.task(id).pause(), {
    already: [/cannot pause a paused container/],
  });
  const state = await world.client.call(`state of ${id}`, (gantry) => gantry.tasks.task(id).state());
  if (state?.status !== 'paused') world.ledger.break(`${id} was paused and is ${state?.status}`);
  await world.client.call(`resume ${id}`, (gantry) => gantry.tasks.task(id).resume(), {
    already: [/cannot resume a running process/],
  });
  await world.client.call(`kill ${id}`, (gantry) => gantry.tasks.task(id).kill(SIGKILL), {
    already: ['NotFound'],
  });
  await ended(world, id, 128 + SIGKILL);
  await remove(world, id, 128 + SIGKILL);
};

const isPulled: Story = async ({ client, pulled, ledger }) => {
  await client.call('pull', (gantry) => gantry.images.pull(pulled, { snapshotter, scheme: 'http' }).image());
  // Acknowledged: its content is there from now on, until we remove it.
  const content = await client.call('read what was pulled', async (gantry) =>
    gantry.images.content(await gantry.images.get(pulled)),
  );
  if (content === undefined) ledger.break('a pulled image cannot be read');
  await client.call('remove the image', (gantry) => gantry.images.remove(pulled, { sync: true }), {
    already: ['NotFound'],
  });
  ledger.count('pulled');
};

const stories: readonly Story[] = [runsToItsEnd, runsToItsEnd, isKilled, isKilled, isPaused];

/** One user, who tells a story after the other until it is enough; the puller's are pulls. */
export async function live(
  world: World,
  { name, pulls, enough }: { name: string; pulls: boolean; enough: () => boolean },
): Promise<void> {
  for (let chapter = 0; !enough(); chapter += 1) {
    const story = pulls ? isPulled : world.random.pick(stories);
    try {
      await story(world, `${name}-${chapter}`);
    } catch (error) {
      world.ledger.break(`${name}-${chapter}: ${messageOf(error)}`);
    }
    world.ledger.count('stories');
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Made before the first kill and looked at after each: it must be the same process until the end. */
export async function makeWitness(world: World, id: string): Promise<number> {
  await make(world, id, ['/bin/sleep', '100000']);
  await start(world, id);
  return (await world.client.call(`state of ${id}`, (gantry) => gantry.tasks.task(id).state()))?.pid ?? -1;
}

export async function endWitness(world: World, id: string): Promise<void> {
  await world.client.call(`kill ${id}`, (gantry) => gantry.tasks.task(id).kill(SIGKILL));
  await ended(world, id, 128 + SIGKILL);
  await remove(world, id, 128 + SIGKILL);
}
