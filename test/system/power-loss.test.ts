/**
 * The machine loses power at every moment at which something was saved: strace records what the store asks of the
 * file system, and from each moment the tree that would have survived is built, opened, checked and compared with what
 * had been acknowledged. What was not synced is gone, or there, or there in part, by a seed that is printed.
 *
 * Threads never run the same way twice, so the recording of a run that failed is kept and can be replayed:
 *
 *     GANTRY_SEED=N GANTRY_RECORDING=DIRECTORY node --test test/system/power-loss.test.ts
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DiskModel, type Survival } from '../../src/testing/power-loss/disk-model.ts';
import { finishIngest, Promises, sampleImage, snapshotterOf } from '../../src/testing/power-loss/promises.ts';
import { type FileCall, readTrace, straceArguments } from '../../src/testing/power-loss/syscall-trace.ts';
import { publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { StoreHost } from '../../src/testing/store-host.ts';
import { attempt } from '../support/run.ts';

const story = fileURLToPath(new URL('../../src/testing/power-loss/story.worker.ts', import.meta.url));
const seed = Number(process.env['GANTRY_SEED'] ?? Math.trunc(Math.random() * 2 ** 31));

/** mulberry32: small, and the same everywhere. */
function randomOf(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Recording {
  readonly calls: readonly FileCall[];
  /** Where the story lived; every recorded path lies below. */
  readonly root: string;
  readonly directory: string;
}

const replayed = process.env['GANTRY_RECORDING'];

async function record(mode: 'safe' | 'unsafe', directory: string): Promise<Recording> {
  const [root, trace] = [join(directory, 'store'), join(directory, 'trace')];
  await using registry = await TestRegistry.start();
  publish(registry.storage, 'sample', 'latest', sampleImage);
  await mkdir(root);
  const args = [...straceArguments(trace), process.execPath, story, root, registry.host, mode];
  const { status, stderr } = await attempt('strace', args);
  assert.equal(status, 0, stderr);
  return load(directory);
}

async function load(directory: string): Promise<Recording> {
  const calls = [...readTrace(await readFile(join(directory, 'trace'), 'utf8'))];
  return { calls, root: join(directory, 'store'), directory };
}

/** What the story says goes to its standard output, in the same trace: so it stands where it was said. */
const saidIn = (call: FileCall): string[] =>
  call.kind === 'write' && call.fd === 1
    ? call.bytes
        .toString('utf8')
        .split('\n')
        .filter((line) => /^(?:begin|there|gone) \[/.test(line))
    : [];

interface Moment {
  readonly number: number;
  readonly promises: Promises;
  readonly model: DiskModel;
}

/** Calls `visit` after each sync and after each thing that was said. */
async function replay({ calls, root }: Recording, visit: (moment: Moment) => Promise<void>): Promise<number> {
  const model = new DiskModel(root);
  const promises = new Promises();
  let number = 0;
  for (const call of calls) {
    model.apply(call);
    const said = saidIn(call);
    for (const line of said) promises.hear(line);
    if (call.kind !== 'sync-end' && said.length === 0) continue;
    await visit({ number, promises, model });
    number += 1;
  }
  return number;
}

/** Opens what survived, as the next start of the machine would. */
async function checkSurvivors({ promises, model }: Moment, survival: Survival, place: string): Promise<void> {
  await mkdir(place);
  try {
    model.writeSurvivors(place, survival);
    await using host = await StoreHost.open(place, { snapshotter: snapshotterOf(), boot: 'second' });
    assert.deepEqual(host.database.problems(), []);
    await promises.check(host);
    const { findings } = await host.check();
    assert.deepEqual(
      findings.filter(({ severity }) => severity !== 'notice'),
      [],
    );
    await host.collector.run(host.ctx);
    await promises.check(host);
    assert.deepEqual((await host.check()).findings, []);
    for (const name of ['abandoned', 'abandoned late']) await finishIngest(host, name);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

const nothing: Survival = () => false;
const namesOnly: Survival = (what) => what === 'names';

/** Each store is checked in the three ways that `survivals` gives; returns how many that were. */
async function cutEverywhere(recording: Recording): Promise<{ moments: number; stores: number }> {
  const random = randomOf(seed);
  const work = await mkdtemp(join(tmpdir(), 'gantry-survivors-'));
  let stores = 0;
  try {
    const moments = await replay(recording, async (moment) => {
      const survivals: [string, Survival][] = [['nothing unsynced', nothing]];
      if (random() < 0.25) survivals.push(['names and no bytes', namesOnly]);
      if (random() < 0.25)
        survivals.push(['names and a part of the bytes', (what) => what === 'names' || random() < 0.7]);
      // Half of it breaks most; nearly all of it leaves things that look whole.
      const share = random() < 0.5 ? 0.5 : 0.9;
      if (random() < 0.5) survivals.push([`a part (${share})`, () => random() < share]);
      for (const [name, survival] of survivals)
        try {
          stores += 1;
          await checkSurvivors(moment, survival, join(work, `after-${moment.number}`));
        } catch (error) {
          const again = `GANTRY_SEED=${seed} GANTRY_RECORDING=${recording.directory}`;
          throw new Error(`moment ${moment.number}, ${name} survives; again: ${again}`, { cause: error });
        }
    });
    return { moments, stores };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

test('power is cut at every sync: the store opens, is whole, and keeps what it acknowledged', async (t) => {
  t.diagnostic(`GANTRY_SEED=${seed}`);
  const directory = replayed ?? (await mkdtemp(join(tmpdir(), 'gantry-power-')));
  const recording = replayed === undefined ? await record('safe', directory) : await load(directory);
  const { moments, stores } = await cutEverywhere(recording);
  t.diagnostic(`${moments} moments, ${stores} stores`);
  assert.ok(moments > 50, `only ${moments} moments`);
  // Kept when the test fails.
  if (replayed === undefined) await rm(directory, { recursive: true, force: true });
});

test('the simulation can tell: commits without a sync lose their layers', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-power-'));
  try {
    const recording = await record('unsafe', directory);
    const lost: unknown[] = [];
    await replay(recording, async (moment) => {
      if (lost.length > 0) return;
      await checkSurvivors(moment, namesOnly, join(directory, `after-${moment.number}`)).catch(
        (error: unknown) => lost.push(error),
      );
    });
    assert.match(String(lost[0]), /layer layer-1 has lost its bytes/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
