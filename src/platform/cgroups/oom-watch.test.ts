/** The kernel's own kills need root and a memory controller; how files of either version are read does not. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import type { CgroupOperations } from '../platform.ts';
import { selectPlatform } from '../select.ts';
import { type CgroupPaths, cgroupOf } from './cgroup-paths.ts';
import { OomWatch, oomFile } from './oom-watch.ts';

const { cgroups, processes } = await selectPlatform();
const noEvents: CgroupOperations = { watchMemory: () => ({ [Symbol.dispose]: () => {} }) };
const v1 = (memory: string): CgroupPaths => ({ version: 1, controllers: new Map([['memory', memory]]) });
const v2 = (path: string): CgroupPaths => ({ version: 2, path });

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'gantry-oom-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const oomControl = (path: string, kills: number, underOom = 0, disabled = 0): void =>
  writeFileSync(
    join(path, 'memory.oom_control'),
    `oom_kill_disable ${disabled}\nunder_oom ${underOom}\noom_kill ${kills}\n`,
  );

describe('kills told by the files', () => {
  test('where they stand', () => {
    assert.equal(oomFile(v1('/c/memory/a')), '/c/memory/a/memory.oom_control');
    assert.equal(oomFile(v2('/c/a')), '/c/a/memory.events');
    assert.equal(oomFile({ version: 1, controllers: new Map() }), undefined);
  });

  test('each is told once, and those from before not at all', (t) => {
    const path = folder(t);
    const told = (kills: number): void =>
      writeFileSync(join(path, 'memory.events'), `oom 9\noom_kill ${kills}\n`);
    told(2);
    using watch = new OomWatch({ cgroups: noEvents, cgroup: v2(path), onOom: () => {} });
    assert.equal(watch.drain(), false);
    told(4);
    assert.deepEqual([watch.drain(), watch.drain(), watch.seen], [true, false, 4]);
    using successor = new OomWatch({ cgroups: noEvents, cgroup: v2(path), onOom: () => {} }, { seen: 3 });
    assert.equal(successor.drain(), true);
  });

  test('of version 1 those below count too, and a standstill is told once', (t) => {
    const path = folder(t);
    mkdirSync(join(path, 'below'));
    oomControl(path, 0);
    oomControl(join(path, 'below'), 0);
    using watch = new OomWatch({ cgroups: noEvents, cgroup: v1(path), onOom: () => {} });
    oomControl(join(path, 'below'), 1);
    assert.deepEqual([watch.drain(), watch.drain()], [true, false]);
    oomControl(path, 0, 1, 0);
    assert.equal(watch.drain(), false, 'under pressure, but the kernel will kill');
    oomControl(path, 0, 1, 1);
    assert.deepEqual([watch.drain(), watch.drain()], [true, false]);
    oomControl(path, 0, 0, 1);
    assert.equal(watch.drain(), false);
    oomControl(path, 0, 1, 1);
    assert.equal(watch.drain(), true);
  });

  test('a cgroup that is gone, or has no memory controller, tells nothing', (t) => {
    const path = join(folder(t), 'absent');
    for (const cgroup of [v1(path), v2(path)]) {
      using watch = new OomWatch({ cgroups, cgroup, onOom: () => assert.fail('nothing happened') });
      assert.equal(watch.drain(), false);
      assert.throws(
        () => watch.listen(),
        (error) => hasCode(error, 'NotFound'),
      );
    }
    const cgroup: CgroupPaths = { version: 1, controllers: new Map() };
    using watch = new OomWatch({ cgroups, cgroup, onOom: () => assert.fail('nothing happened') });
    watch.listen();
    assert.equal(watch.drain(), false);
  });

  test('a write to memory.events is noticed', async (t) => {
    const path = folder(t);
    writeFileSync(join(path, 'memory.events'), 'oom_kill 0\n');
    const oom = Promise.withResolvers<void>();
    using watch = new OomWatch({ cgroups, cgroup: v2(path), onOom: oom.resolve });
    watch.listen();
    const stay = setInterval(() => {}, 1000);
    appendFileSync(join(path, 'memory.events'), 'oom_kill 1\n');
    await oom.promise;
    clearInterval(stay);
    assert.equal(watch.drain(), false);
  });

  test('version 1 notifies before it kills: the count is looked at again', async (t) => {
    const path = folder(t);
    oomControl(path, 0);
    let notify = (): void => {};
    const events: CgroupOperations = {
      watchMemory: (_file, onEvent) => {
        notify = onEvent;
        return { [Symbol.dispose]: () => {} };
      },
    };
    const oom = Promise.withResolvers<void>();
    using watch = new OomWatch({ cgroups: events, cgroup: v1(path), onOom: oom.resolve });
    watch.listen();
    notify();
    oomControl(path, 1);
    const stay = setInterval(() => {}, 1000);
    await oom.promise;
    clearInterval(stay);
  });
});

/** A cgroup below ours with 8 MiB, or why there is none. */
function smallCgroup(): { cgroup: CgroupPaths; directory: string } | string {
  const unprivileged = needsRoot('it makes a cgroup');
  if (unprivileged !== false) return unprivileged;
  const ours = cgroupOf(process.pid);
  const parent = ours.version === 2 ? join(ours.path, '..') : ours.controllers.get('memory');
  if (parent === undefined) return 'needs a memory controller';
  const directory = join(parent, `gantry-oom-${process.pid}`);
  mkdirSync(directory);
  const [limit, cgroup] =
    ours.version === 2 ? ['memory.max', v2(directory)] : ['memory.limit_in_bytes', v1(directory)];
  try {
    writeFileSync(join(directory, limit), String(8 * 1024 * 1024), { flag: 'r+' });
  } catch {
    rmdirSync(directory);
    return 'needs a memory controller that is handed on to children';
  }
  return { cgroup, directory };
}

/** Starts a process in the cgroup that takes memory until it is killed: tail keeps what it reads until a line ends. */
function startGlutton(directory: string): number {
  const script = `echo $$ > ${directory}/cgroup.procs && exec tail /dev/zero`;
  const env = { PATH: '/usr/bin:/bin' };
  return processes.spawn({ file: 'sh', args: ['-c', script], env, stdio: [] });
}

test('a kill by the kernel is known when the exit is, and told once', async (t) => {
  const small = smallCgroup();
  if (typeof small === 'string') {
    t.skip(small);
    return;
  }
  const before = readdirSync('/proc/self/fd').length;
  let calls = 0;
  const oom = Promise.withResolvers<void>();
  const onOom = (): void => {
    calls += 1;
    oom.resolve();
  };
  const watch = new OomWatch({ cgroups, cgroup: small.cgroup, onOom });
  try {
    watch.listen();
    for (const round of [1, 2]) {
      const pid = startGlutton(small.directory);
      const { status } = await processes.exited(pid);
      if (watch.drain()) onOom();
      assert.deepEqual([status, calls], [137, round]);
    }
    assert.deepEqual([calls, watch.seen], [2, 2]);
  } finally {
    watch[Symbol.dispose]();
    rmdirSync(small.directory);
  }
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

test('the notification itself arrives, without anybody asking', async (t) => {
  const small = smallCgroup();
  if (typeof small === 'string') {
    t.skip(small);
    return;
  }
  const { promise, resolve } = Promise.withResolvers<void>();
  const events = cgroups.watchMemory(oomFile(small.cgroup) ?? '', resolve);
  const pid = startGlutton(small.directory);
  try {
    await Promise.all([promise, processes.exited(pid)]);
  } finally {
    events[Symbol.dispose]();
    rmdirSync(small.directory);
  }
});
