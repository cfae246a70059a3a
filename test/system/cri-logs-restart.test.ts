/**
 * Daemon and shim are killed together while a container writes 50 MB of lines and its log is rotated. Not within its last
 * 256 KiB: those would fit into the pipes, which nobody holds when it has ended too.
 */
import assert from 'node:assert/strict';
import { readdirSync, renameSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ShimStreams } from '../../src/core/runtime/streams/attached-process.ts';
import { until } from '../../src/testing/until.ts';
import { connectTtrpc } from '../../src/wire/ttrpc/client.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { assertNumbered, linesOf, numberedLines } from '../support/log-lines.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { killShim, shimPids } from '../support/shims.ts';

const lines = 500_000;
/** At least: heads have 45 bytes. */
const logBytes = lines * 140;

let registry: Registry;
let daemon: Daemon;
let directory: string;
before(async () => {
  registry = await startRegistry(['busybox']);
  daemon = await startGantry();
  directory = await mkdtemp(join(tmpdir(), 'gantry-cri-logs-'));
});
after(async () => {
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
  if (directory) await rm(directory, { recursive: true });
});

const isOver = async (): Promise<boolean> => (await daemon.ctr('tasks', 'ls')).includes('STOPPED');

async function reopen(): Promise<void> {
  const shims = join(daemon.state, 'io.containerd.shim.v1.manager');
  const [group = ''] = readdirSync(shims);
  await using connection = await connectTtrpc(join(shims, group, 'sock'));
  await new ShimStreams({ connection }).reopen({ namespace: 'default', id: 'writes', execId: '' });
}

test('every line once, whole and in order', { timeout: 240_000 }, async () => {
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  const path = join(directory, 'x.log');
  const rotated: string[] = [];
  const size = (): number => [...rotated, path].reduce((sum, file) => sum + sizeOf(file), 0);
  const command = ['sh', '-c', numberedLines(lines)];
  await daemon.ctr('run', '-d', '--log-uri', `cri://${path}`, image, 'writes', ...command);
  const moments = Array.from({ length: 8 }, () => Math.random() * logBytes * 0.9).toSorted((a, b) => a - b);
  for (const [index, moment] of moments.entries()) {
    let asked = 0;
    const isThere = async (): Promise<boolean> => {
      asked += 1;
      return size() >= moment || (asked % 500 === 0 && (await isOver()));
    };
    await until('so much is written', isThere, { everyMs: 1, timeoutMs: 60_000 });
    if (await isOver()) break;
    const pids = index % 4 !== 3 ? await shimPids(daemon) : [];
    await daemon.kill();
    for (const pid of pids) killShim(pid);
    rotated.push(`${path}.${index}`);
    renameSync(path, `${path}.${index}`);
    await daemon.start();
    if (!(await isOver())) await reopen().catch(unlessOver);
  }
  await until('it has ended', isOver, { timeoutMs: 60_000 });
  assert.ok(rotated.length > 2, `only ${rotated.length} kills`);
  assertNumbered(linesOf(...rotated, ...(sizeOf(path) === 0 ? [] : [path])), lines);
  await daemon.ctr('tasks', 'delete', 'writes');
  await daemon.ctr('containers', 'delete', 'writes');
});

/** It may end just now, and has no log any more then. */
async function unlessOver(error: unknown): Promise<void> {
  if (!(await isOver())) throw error;
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
