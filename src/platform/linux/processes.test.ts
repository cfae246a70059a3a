import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { descriptorsOf } from '../../testing/held.ts';
import { until } from '../../testing/until.ts';
import { LinuxLoops } from './loop-devices.ts';
import { LinuxMounts } from './mounts.ts';
import { foreignExit } from './pidfd.ts';
import { LinuxProcesses } from './processes.ts';

const env = { PATH: '/usr/bin:/bin' };

function shell(processes: LinuxProcesses, script: string): number {
  return processes.spawn({ file: 'sh', args: ['-c', script], env, stdio: ['null', 'null', 'null'] });
}

/** Runs a script with its stdout in a file and returns what it wrote there. */
async function outputOf(processes: LinuxProcesses, script: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-processes-'));
  const out = openSync(join(folder, 'out'), 'w');
  try {
    const pid = processes.spawn({
      file: 'sh',
      args: ['-c', script],
      env,
      stdio: ['null', out, out],
    });
    await processes.exited(pid);
    return readFileSync(join(folder, 'out'), 'utf8');
  } finally {
    closeSync(out);
    rmSync(folder, { recursive: true });
  }
}

describe('children', () => {
  test('exit codes and signals come out as shells report them', async () => {
    const processes = new LinuxProcesses();
    assert.equal((await processes.exited(shell(processes, 'exit 0'))).status, 0);
    assert.equal((await processes.exited(shell(processes, 'exit 42'))).status, 42);
    assert.equal((await processes.exited(shell(processes, 'kill -TERM $$'))).status, 143);
    const pid = shell(processes, 'exec sleep 100');
    processes.kill(pid, 9);
    assert.equal((await processes.exited(pid)).status, 137);
  });

  test('every caller gets the same answer, before and after the exit', async () => {
    const processes = new LinuxProcesses();
    const pid = shell(processes, 'exit 7');
    const [first, second] = await Promise.all([processes.exited(pid), processes.exited(pid)]);
    assert.equal(first.status, 7);
    assert.deepEqual(second, first);
    assert.deepEqual(await processes.exited(pid), first);
    assert.equal(processes.isAlive(pid), false);
  });

  test('200 children leave no descriptor and no zombie behind', async () => {
    const processes = new LinuxProcesses();
    await processes.exited(shell(processes, 'exit 0'));
    const before = descriptorsOf();
    const pids = Array.from({ length: 200 }, (_, index) => shell(processes, `exit ${index % 100}`));
    const exits = await Promise.all(pids.map((pid) => processes.exited(pid)));
    assert.deepEqual(
      exits.map(({ status }) => status),
      pids.map((_, index) => index % 100),
    );
    for (const pid of pids) assert.equal(existsSync(`/proc/${pid}`), false, `zombie ${pid}`);
    assert.deepEqual(descriptorsOf(), before);
  });

  test('descriptors arrive in the order asked for, though their numbers overlap, and no others do', async () => {
    const processes = new LinuxProcesses();
    const folder = mkdtempSync(join(tmpdir(), 'gantry-descriptors-'));
    const names = ['a', 'b', 'c', 'd'];
    const fds = names.map((name) => openSync(join(folder, name), 'w+'));
    try {
      // The last position is below the numbers of the others and the first ones are targets of later ones.
      const stdio = [1, 0, 2, ...fds];
      const script = names.map((_, index) => `readlink /proc/self/fd/${index + 3} >&${index + 3}`).join(';');
      const pid = processes.spawn({ file: 'sh', args: ['-c', script], env, stdio });
      assert.equal((await processes.exited(pid)).status, 0);
      for (const name of names)
        assert.equal(readFileSync(join(folder, name), 'utf8'), `${join(folder, name)}\n`);
      const list = await outputOf(processes, 'ls /proc/self/fd');
      // 3 is ls reading the directory.
      assert.equal(list, '0\n1\n2\n3\n');
    } finally {
      for (const fd of fds) closeSync(fd);
      rmSync(folder, { recursive: true });
    }
  });

  test('stdin and stdout may be swapped', async () => {
    const processes = new LinuxProcesses();
    const pid = processes.spawn({ file: 'sleep', args: ['100'], env, stdio: [1, 0, 'null', 1] });
    const target = (owner: number | 'self', fd: number): string => readlinkSync(`/proc/${owner}/fd/${fd}`);
    try {
      assert.deepEqual(
        [0, 1, 2, 3].map((fd) => target(pid, fd)),
        [target('self', 1), target('self', 0), '/dev/null', target('self', 1)],
      );
    } finally {
      processes.kill(pid, 9);
      await processes.exited(pid);
    }
  });

  test('signals are neither blocked nor ignored in a child, though Node ignores SIGPIPE', async () => {
    const status = await outputOf(new LinuxProcesses(), 'cat /proc/self/status');
    assert.match(status, /^SigBlk:\s0{16}$/m);
    assert.match(status, /^SigIgn:\s0{16}$/m);
  });

  test('a child can have its own group or session, and a working directory', async () => {
    const processes = new LinuxProcesses();
    for (const wish of [{ newProcessGroup: true }, { newSession: true }] as const) {
      const pid = processes.spawn({ file: 'sleep', args: ['100'], env, stdio: [], ...wish });
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      assert.equal(fields[2], String(pid));
      assert.equal(fields[3] === String(pid), 'newSession' in wish);
      processes.kill(-pid, 9);
      assert.equal((await processes.exited(pid)).status, 137);
    }
    const pid = processes.spawn({
      file: 'sh',
      args: ['-c', 'test "$(pwd)" = /usr'],
      cwd: '/usr',
      env,
      stdio: [],
    });
    assert.equal((await processes.exited(pid)).status, 0);
  });

  test('a missing program, working directory or process is NotFound', async () => {
    const processes = new LinuxProcesses();
    const isNotFound = (error: unknown): boolean => hasCode(error, 'NotFound');
    const before = descriptorsOf();
    assert.throws(() => processes.spawn({ file: 'no-such-program', args: [], env, stdio: [] }), isNotFound);
    assert.throws(() => processes.spawn({ file: '/no/such', args: [], env, stdio: [] }), isNotFound);
    assert.throws(
      () => processes.spawn({ file: 'true', args: [], cwd: '/no/such', env, stdio: [] }),
      isNotFound,
    );
    await assert.rejects(processes.exited(0x3f_ffff), isNotFound);
    assert.throws(() => processes.kill(0x3f_ffff, 0), isNotFound);
    assert.deepEqual(descriptorsOf(), before);
  });

  test('a process adopted as subreaper gives its status, whoever made it', async () => {
    const processes = new LinuxProcesses();
    processes.becomeSubreaper();
    const folder = mkdtempSync(join(tmpdir(), 'gantry-adopt-'));
    const go = join(folder, 'go');
    // The grandchild ends only when the file is there, so it outlives its parent.
    const orphan = `(until [ -e ${go} ]; do sleep 0.01; done; exit 5) & echo $! > ${folder}/pid`;
    await processes.exited(shell(processes, orphan));
    const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    processes.adopt(pid);
    const exited = processes.exited(pid);
    closeSync(openSync(go, 'w'));
    assert.equal((await exited).status, 5);
    rmSync(folder, { recursive: true });
  });

  test('a process adopted again after its end keeps its status', async () => {
    const processes = new LinuxProcesses();
    const pid = shell(processes, 'exit 7');
    assert.equal((await processes.exited(pid)).status, 7);
    processes.adopt(pid);
    processes.adopt(pid);
    assert.equal((await processes.exited(pid)).status, 7);
  });

  test('an adopted process that its first parent reaps is not waited for in vain', async () => {
    const processes = new LinuxProcesses();
    const folder = mkdtempSync(join(tmpdir(), 'gantry-reaped-'));
    const script = `(until [ -e ${folder}/go ]; do sleep 0.01; done; exit 6) & echo $! > ${folder}/pid
      : > ${folder}/ready; wait $!; until [ -e ${folder}/end ]; do sleep 0.01; done`;
    const parent = shell(processes, script);
    while (!existsSync(join(folder, 'ready'))) await new Promise(setImmediate);
    const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    processes.adopt(pid);
    const exited = processes.exited(pid);
    closeSync(openSync(join(folder, 'go'), 'w'));
    // 255 where the kernel does not keep the status (before 6.15).
    assert.ok([6, 255].includes((await exited).status));
    closeSync(openSync(join(folder, 'end'), 'w'));
    await processes.exited(parent);
    rmSync(folder, { recursive: true });
  });

  test('a foreign process tells its status, and waiting for it can be given up', async () => {
    const processes = new LinuxProcesses();
    const observer = new LinuxProcesses();
    const pid = shell(processes, 'exec sleep 100');
    const before = descriptorsOf();
    await assert.rejects(observer.foreignExited(pid, { signal: AbortSignal.timeout(20) }), (error) =>
      hasCode(error, 'DeadlineExceeded'),
    );
    assert.deepEqual(descriptorsOf(), before);
    const foreign = observer.foreignExited(pid, { signal: AbortSignal.timeout(10_000) });
    const own = processes.exited(pid);
    processes.kill(pid, 15);
    assert.equal((await own).status, 143);
    const exit = await foreign;
    // Kernels before 6.15 do not keep it.
    if (exit !== undefined) assert.equal(exit.status, 143);
    assert.equal(await observer.foreignExited(pid, { signal: AbortSignal.timeout(10_000) }), undefined);
  });

  test('the status of a foreign process is there before its parent has reaped it', async () => {
    const processes = new LinuxProcesses();
    processes.becomeSubreaper();
    const folder = mkdtempSync(join(tmpdir(), 'gantry-zombie-'));
    const before = descriptorsOf();
    // Its parent becomes a program that knows of no children, so that a zombie stays.
    const parent = shell(processes, `sleep 100 & echo $! > ${folder}/pid; exec sleep 100`);
    const isSleep = (): boolean => readFileSync(`/proc/${parent}/comm`, 'utf8') === 'sleep\n';
    while (!isSleep()) await new Promise(setImmediate);
    const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    const signal = AbortSignal.timeout(10_000);
    const late = foreignExit(pid, { signal });
    processes.kill(pid, 15);
    const startedMs = performance.now();
    assert.equal((await foreignExit(pid, { signal, reapMs: 20 }))?.status, 143);
    assert.ok(performance.now() - startedMs < limits.foreignReapMs);
    assert.equal(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0], 'Z');
    processes.kill(parent, 9);
    await processes.exited(parent);
    assert.equal((await processes.exited(pid)).status, 143);
    const exit = await late;
    assert.deepEqual([exit?.pid, exit?.status], [pid, 143]);
    assert.deepEqual(descriptorsOf(), before);
    rmSync(folder, { recursive: true });
  });

  test('a pinned exit is known after the process was reaped and nobody held it', async () => {
    const processes = new LinuxProcesses();
    const folder = mkdtempSync(join(tmpdir(), 'gantry-pin-'));
    const pin = join(folder, 'pidfd');
    const before = descriptorsOf();
    const pid = shell(processes, `while [ ! -e ${folder}/end ]; do sleep 0.01; done; exit 9`);
    const pinned = processes.pin(pid, pin);
    closeSync(openSync(join(folder, 'end'), 'w'));
    assert.equal((await processes.exited(pid)).status, 9);
    assert.equal(processes.pin(pid, join(folder, 'late')), false);
    const exit = await processes.foreignExited(pid, { signal: AbortSignal.timeout(10_000), pin });
    // Kernels before 6.15 do not pin.
    assert.equal(exit?.status, pinned ? 9 : undefined);
    assert.deepEqual(descriptorsOf(), before);
    new LinuxMounts({ loops: new LinuxLoops() }).unmountAll(folder);
    rmSync(folder, { recursive: true });
  });

  test('the pid of a process is told from its reuse by its start', async () => {
    const processes = new LinuxProcesses();
    const ticks = processes.startTicks(process.pid);
    assert.ok(ticks !== undefined && ticks > 0n);
    assert.equal(processes.startTicks(process.pid), ticks);
    assert.equal(processes.startTicks(0x3f_ffff), undefined);
    assert.equal(processes.isAlive(process.pid), true);
    assert.equal(processes.isAlive(0x3f_ffff), false);
  });

  test('oom_score_adj is set as far as we may', async () => {
    const processes = new LinuxProcesses();
    const pid = shell(processes, 'exec sleep 100');
    try {
      assert.equal(processes.setOomScoreAdjust(pid, 300), 300);
      assert.equal(processes.setOomScoreAdjust(pid, 5000), 1000);
      const lowest = processes.setOomScoreAdjust(pid, -999);
      assert.equal(Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8')), lowest);
      assert.ok(lowest === -999 || lowest === 1000);
    } finally {
      processes.kill(pid, 9);
      await processes.exited(pid);
    }
  });

  test('children are waited for in a worker thread too, where no signal arrives', async () => {
    const worker = new Worker(new URL('./processes.worker.ts', import.meta.url));
    const message = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error('the worker ended early')));
    });
    assert.equal(message, 9);
    await worker.terminate();
  });
});

test('what /proc tells of a process, and that a gone one tells nothing', async () => {
  const processes = new LinuxProcesses();
  const pid = processes.spawn({
    file: 'sh',
    // Sleeps in a child of its own, and has a name with brackets and spaces in it.
    args: ['-c', 'sleep 1000; :', ') S 1 (', 'two words'],
    env: { ...env, GANTRY_LOOK: 'a=b' },
    cwd: '/usr',
    stdio: ['null', 'null', 'null'],
    newProcessGroup: true,
  });
  await until('it sleeps', () => processes.children(pid).length === 1);
  assert.ok(processes.list().includes(pid) && processes.children(process.pid).includes(pid));
  assert.deepEqual(processes.arguments(pid), ['sh', '-c', 'sleep 1000; :', ') S 1 (', 'two words']);
  assert.ok(processes.environment(pid).includes('GANTRY_LOOK=a=b'));
  assert.equal(processes.workingDirectory(pid), '/usr');
  const [child = 0] = processes.children(pid);
  assert.deepEqual([processes.isGroupLeader(pid), processes.isGroupLeader(child)], [true, false]);
  processes.kill(-pid, 9);
  await processes.exited(pid);
  assert.equal(processes.list().includes(pid), false);
  assert.deepEqual(
    [processes.children(pid), processes.arguments(pid), processes.environment(pid)],
    [[], [], []],
  );
  assert.equal(processes.workingDirectory(pid), undefined);
  assert.equal(processes.isGroupLeader(pid), false);
});
