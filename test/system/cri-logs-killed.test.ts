/** A container writes 50 MB of numbered lines while its shim is killed and its log rotated: each line is there once. */
import assert from 'node:assert/strict';
import { readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLogger } from '../../src/base/logger.ts';
import { ShimStreams } from '../../src/core/runtime/streams/attached-process.ts';
import { keepOutputs } from '../../src/core/runtime/streams/output-keeper.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { assertNumbered, linesOf, numberedLines } from '../support/log-lines.ts';
import { ShimLab } from '../support/shim-lab.ts';

const skip = needsRoot('it runs containers by runc');
const lines = 500_000;
const logBytes = lines * 150;

describe('a log whose shim is killed, as root', { skip, timeout: 240_000 }, () => {
  let lab: ShimLab;
  before(async () => {
    lab = await ShimLab.open();
  });
  after(() => lab[Symbol.asyncDispose]());

  /** The rotated ones in their order, then the present one. */
  const filesOf = (directory: string): string[] => {
    const order = (name: string): number => Number(name.split('.')[2] ?? Infinity);
    return readdirSync(directory)
      .toSorted((one, other) => order(one) - order(other))
      .map((name) => join(directory, name));
  };
  const sizeOf = (directory: string): number =>
    filesOf(directory).reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);

  test('every line once, whole and in order', async () => {
    const directory = join(lab.root, 'pods');
    const path = join(directory, 'x.log');
    const io = { stdout: `cri://${path}`, stderr: `cri://${path}` };
    const id = await lab.run(['/bin/sh', '-c', numberedLines(lines)], io);
    using _held = keepOutputs({ files: lab.platform.files, log: silentLogger }, lab.bundle(id));
    const isOver = (): boolean => lab.topics(id).includes('exit init 0');
    const moments = Array.from({ length: 30 }, () => Math.random() * logBytes).toSorted((a, b) => a - b);
    let kills = 0;
    for (const [index, moment] of moments.entries()) {
      await until('so much is written', () => isOver() || sizeOf(directory) >= moment, { everyMs: 1 });
      if (isOver()) break;
      const kind = Math.floor(Math.random() * 3);
      if (kind < 2) {
        await lab.kill({ now: true });
        kills += 1;
      }
      if (kind > 0) renameSync(path, `${path}.${index}`);
      if (kind < 2) await lab.start();
      if (kind > 0) {
        const streams = new ShimStreams({ connection: lab.connection });
        await streams.reopen({ namespace: 'shim-lab', id, execId: '' });
      }
    }
    await until('the exit is told', isOver, { timeoutMs: 60_000 });
    assertNumbered(linesOf(...filesOf(directory)), lines);
    assert.ok(kills > 3, `only ${kills} kills`);
    await lab.finish(id);
  });

  test('an unfinished line goes on under the next shim, and stdin stays open', async () => {
    const path = join(lab.root, 'unfinished.log');
    const script = 'printf begin; while read a; do printf " $a"; done';
    const io = { stdin: 'cri://', stdout: `cri://${path}`, stderr: `cri://${path}` };
    const id = await lab.run(['/bin/sh', '-c', script], io);
    const say = async (word: string): Promise<void> => {
      const streams = new ShimStreams({ connection: lab.connection });
      const target = { namespace: 'shim-lab', id, execId: '' };
      await using client = await streams.attach(target, {
        ...{ stdin: true, stdout: true, stderr: true, lossless: false },
      });
      await client.write(Buffer.from(`${word}\n`));
      for await (const chunk of client.output())
        if (Buffer.from(chunk.bytes).toString().endsWith(word)) return;
    };
    await say('one');
    await lab.replace();
    await say('two');
    assert.deepEqual(linesOf(path), []);
    assert.equal(await lab.finish(id, 9), 137);
    assert.deepEqual(linesOf(path), ['stdout P begin one two']);
  });

  test('what a container wrote before its shim was killed, and until it ended meanwhile, is in the log', async () => {
    const path = join(lab.root, 'ended.log');
    const script = 'trap "echo last; exit 7" TERM; printf begin; while :; do usleep 20000; done';
    const id = await lab.run(['/bin/sh', '-c', script], { stdout: `cri://${path}`, stderr: '' });
    using _held = keepOutputs({ files: lab.platform.files, log: silentLogger }, lab.bundle(id));
    const spool = join(lab.bundle(id), 'streams/init/stdout.spool');
    await until('it has come to the shim', () => statSync(spool).size === 5);
    const { pid } = await lab.tasks.state({ id });
    await lab.kill();
    lab.platform.processes.kill(pid, 15);
    await until('it has ended', () => !lab.platform.processes.isAlive(pid));
    await lab.start();
    assert.equal(await lab.finish(id), 7);
    assert.deepEqual(linesOf(path), ['stdout F beginlast']);
  });
});
