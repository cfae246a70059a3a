/**
 * A long run, by hand: `npm run fuzz -- [TARGET…] [--seconds N] [--seed S]`, each target for so many seconds. Prints
 * its seed first, then what each target did, and of a failure the input and the command that shows it again
 * (`npm run fuzz -- TARGET --input=BASE64`). Ends with 1 when anything failed.
 */
import { fork } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { WorkerResult } from './fuzz.worker.ts';
import { findingText } from './fuzz-run.ts';
import { type FuzzTarget, runInput } from './fuzz-target.ts';
import { targets } from './targets.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    input: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
});

/** An input that makes no progress for so long never will. */
const stallMs = 20_000;
const heapMb = 512;

const chosen = chosenTargets();
if (values.list) for (const { name } of chosen) console.log(name);
else if (values.input === undefined) await runAll();
else await tryInput(Buffer.from(values.input, 'base64'));

function chosenTargets(): readonly FuzzTarget[] {
  const unknown = positionals.filter((name) => !targets.some((target) => target.name === name));
  if (unknown.length > 0) {
    console.error(`no target ${unknown.join(', ')}; there are ${targets.map(({ name }) => name).join(', ')}`);
    process.exit(2);
  }
  return positionals.length === 0 ? targets : targets.filter(({ name }) => positionals.includes(name));
}

/** On this thread, so that a debugger or a profiler sees it. */
async function tryInput(input: Buffer): Promise<void> {
  for (const target of chosen)
    try {
      console.log(`${target.name}: ${await runInput(target, input)}`);
    } catch (error) {
      console.log(findingText(target, { input, error }));
      process.exitCode = 1;
    }
}

async function runAll(): Promise<void> {
  console.log(`seed ${values.seed}`);
  const broken: string[] = [];
  for (const target of chosen) {
    const { taken, refused, finding } = await runOne(target);
    const rate = Math.round((taken + refused) / Number(values.seconds));
    console.log(
      `${target.name.padEnd(16)} ${taken + refused} inputs, ${taken} taken, ${refused} refused, ${rate}/s`,
    );
    if (finding === undefined) continue;
    console.log(findingText(target, { input: Buffer.from(finding.input, 'base64'), error: finding.error }));
    broken.push(target.name);
  }
  if (broken.length > 0) {
    console.log(`failed: ${broken.join(' ')}; the whole again with --seed ${values.seed}`);
    process.exitCode = 1;
  }
}

/** Ends the process when it stalls; the input that it was at is then the finding. */
async function runOne(target: FuzzTarget): Promise<WorkerResult> {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-fuzz-'));
  const currentFile = join(directory, 'current');
  await writeFile(currentFile, Buffer.alloc(8));
  const worker = fork(
    join(import.meta.dirname, 'fuzz.worker.ts'),
    [target.name, values.seed, values.seconds, currentFile],
    {
      execArgv: [`--max-old-space-size=${heapMb}`, '--disable-warning=ExperimentalWarning'],
    },
  );
  const { promise, resolve } = Promise.withResolvers<WorkerResult>();
  const fail = async (error: string): Promise<void> => {
    const bytes = await readFile(currentFile);
    const input = bytes.subarray(8, 8 + bytes.readUInt32LE(4)).toString('base64');
    resolve({ taken: bytes.readUInt32LE(0), refused: 0, finding: { input, error } });
  };
  let last = -1;
  const watch = setInterval(() => {
    void readFile(currentFile).then((bytes) => {
      const begun = bytes.readUInt32LE(0);
      if (begun === last) void fail(`no end after ${stallMs / 1000} s`);
      last = begun;
    });
  }, stallMs);
  worker.once('message', (message) => resolve(message as WorkerResult));
  const onExit = (code: number | null, signal: string | null): void =>
    void fail(`the process ended with ${signal ?? code}`);
  worker.once('exit', onExit);
  worker.once('error', (error) => void fail(String(error)));
  try {
    return await promise;
  } finally {
    clearInterval(watch);
    worker.off('exit', onExit);
    worker.kill('SIGKILL');
    await rm(directory, { recursive: true });
  }
}
