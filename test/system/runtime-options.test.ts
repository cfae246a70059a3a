/**
 * The options of the runtime `io.containerd.runc.v2` (containerd.runc.v1.Options), the names that a runtime may have,
 * and the ways to a shim, each seen where it takes effect: in the words that runc is given, in files, cgroups and
 * owners.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { makeStreams } from '../../src/client/index.ts';
import { selectPlatform } from '../../src/platform/select.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { anyToWire, packAny } from '../../src/wire/any.ts';
import { Task } from '../../src/wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { OptionsSchema } from '../../src/wire/gen/containerd/types/runc/options/oci_pb.js';
import { connectTtrpc } from '../../src/wire/ttrpc/client.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt, run } from '../support/run.ts';
import { TaskLab } from '../support/task-lab.ts';

const skip = needsRoot('it runs containers by runc');
const ourShim = join(import.meta.dirname, '../../bin/containerd-shim-gantry-v1');
const sleepOf = { args: ['sleep', '1000'], cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 } };

const runcOptions = (options: MessageInitShape<typeof OptionsSchema>) => ({
  options: anyToWire(packAny(OptionsSchema, options)),
});

describe('options of the runtime, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  let daemon: Daemon;
  let lab: TaskLab;
  let dir: string;
  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startGantry();
    lab = await TaskLab.open(daemon, registry.reference('busybox'));
    dir = await mkdtemp(join(tmpdir(), 'gantry-options-'));
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (dir) await rm(dir, { recursive: true });
  });

  /** runc that notes its words, and the owners of its descriptors, a line each. */
  async function notingRunc(name: string): Promise<{ path: string; notes(): Promise<string[]> }> {
    const path = join(dir, name);
    const notes = `${path}.notes`;
    await writeFile(
      path,
      `#!/bin/sh\nowners=$(stat -L -c 'fd %u:%g' /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)\necho "$*\n$owners" >>${notes}\nexec runc "$@"\n`,
    );
    await chmod(path, 0o755);
    return { path, notes: async () => (await readFile(notes, 'utf8')).trim().split('\n') };
  }
  const callOf = (notes: readonly string[], subcommand: string): string =>
    notes.find((line) => line.split(' ').includes(subcommand)) ?? `no ${subcommand}`;
  const ownersAfter = (notes: readonly string[], subcommand: string): readonly string[] => {
    const at = notes.indexOf(callOf(notes, subcommand));
    return notes.slice(at + 1, at + 4);
  };

  test('binary_name is the runtime that every call goes to, by path or by a name on PATH', async () => {
    const runc = await notingRunc('runc-by-path');
    await lab.run('binary', ['sleep', '1000'], runcOptions({ binaryName: runc.path }));
    const exec = await lab.client.tasks.task('binary').exec({ execId: 'e', process: sleepOf });
    await exec.start();
    await lab.end('binary');
    const notes = await runc.notes();
    for (const word of ['create', 'start', 'exec', 'kill', 'delete'])
      assert.ok(callOf(notes, word).startsWith('--root '), `${word}: ${notes.join('\n')}`);
    await lab.run('named', ['true'], runcOptions({ binaryName: 'runc' }));
    assert.equal((await lab.client.tasks.task('named').wait()).exitStatus, 0);
    await lab.end('named');
  });

  test('a runtime that is not there: which, and what to do; nothing is left', async () => {
    const absent = runcOptions({ binaryName: '/absent/runc' });
    const rootfs = await lab.record('absent', ['true']);
    await assert.rejects(lab.createTask('absent', rootfs, absent), {
      code: 'Unknown',
      message: /OCI runtime create failed: .*\/absent\/runc.*install runc, or name another/s,
    });
    await assert.rejects(lab.client.tasks.task('absent').state(), { code: 'NotFound' });
    assert.ok(!existsSync(join(daemon.state, 'io.containerd.runtime.v2.task', lab.namespace, 'absent')));
    await lab.createTask('absent', rootfs);
    await lab.end('absent');
  });

  test('root is where runc keeps its state', async () => {
    const root = join(dir, 'runc-root');
    await lab.run('root', ['sleep', '1000'], runcOptions({ root }));
    const listed = await run('runc', ['--root', join(root, lab.namespace), 'list', '-q']);
    assert.equal(listed.trim(), 'root');
    await lab.end('root');
    assert.deepEqual(await readdir(join(root, lab.namespace)), []);
  });

  test('no_pivot_root and no_new_keyring reach runc, and only when they are asked for', async () => {
    const asked = await notingRunc('runc-asked');
    const options = runcOptions({ binaryName: asked.path, noPivotRoot: true, noNewKeyring: true });
    const log = `file://${join(dir, 'no-pivot.log')}`;
    await lab.run('asked', ['echo', 'without a pivot'], { ...options, stdout: log });
    assert.equal((await lab.client.tasks.task('asked').wait()).exitStatus, 0);
    assert.equal(await readFile(join(dir, 'no-pivot.log'), 'utf8'), 'without a pivot\n');
    await lab.end('asked');
    assert.match(callOf(await asked.notes(), 'create'), / --no-pivot --no-new-keyring asked$/);
    const plain = await notingRunc('runc-plain');
    await lab.run('plain', ['true'], runcOptions({ binaryName: plain.path }));
    await lab.end('plain');
    assert.doesNotMatch(
      callOf(await plain.notes(), 'create'),
      /--no-pivot|--no-new-keyring|--systemd-cgroup/,
    );
  });

  test('systemd_cgroup is passed on, and without systemd runc says so', async () => {
    const runc = await notingRunc('runc-systemd');
    const options = runcOptions({ binaryName: runc.path, systemdCgroup: true });
    const rootfs = await lab.record('systemd', ['sleep', '1000']);
    const created = lab.createTask('systemd', rootfs, options);
    if (existsSync('/run/systemd/system')) await created.catch(() => {});
    else
      await assert.rejects(created, {
        code: 'Unknown',
        message: /failed to create shim task: OCI runtime create failed: .*systemd/s,
      });
    assert.match(callOf(await runc.notes(), 'create'), / --systemd-cgroup create /);
    await lab.ctr.attempt(['tasks', 'rm', '-f', 'systemd']);
    await lab.createTask('systemd', rootfs);
    await lab.end('systemd');
  });

  test('io_uid and io_gid own the streams of init and of execs', async (t) => {
    const platform = await selectPlatform();
    const makeFifo = (path: string, mode: number): void => platform.files.makeFifo(path, mode);
    const streams = async () => {
      const made = await makeStreams({ makeFifo, directory: dir }, { stdin: true, terminal: false });
      t.after(() => made[Symbol.asyncDispose]());
      made.stdout?.resume();
      made.stderr?.resume();
      return made.paths;
    };
    const runc = await notingRunc('runc-owners');
    const options = runcOptions({ binaryName: runc.path, ioUid: 1234, ioGid: 2345 });
    await lab.run('owned', ['sleep', '1000'], { ...options, ...(await streams()) });
    const exec = await lab.client.tasks
      .task('owned')
      .exec({ execId: 'e', process: sleepOf, io: await streams() });
    await exec.start();
    await lab.end('owned');
    const notes = await runc.notes();
    for (const word of ['create', 'exec'])
      assert.deepEqual(ownersAfter(notes, word), Array(3).fill('fd 1234:2345'), word);
    const plain = await notingRunc('runc-unowned');
    await lab.run('unowned', ['true'], { ...runcOptions({ binaryName: plain.path }), ...(await streams()) });
    await lab.end('unowned');
    assert.deepEqual(ownersAfter(await plain.notes(), 'create'), Array(3).fill('fd 0:0'));
  });

  test('a terminal belongs to the user of its process', async () => {
    const log = join(dir, 'tty.log');
    await lab.run('tty', ['sh', '-c', 'stat -c "%u %a" "$(tty)"'], {
      flags: ['--tty', '--user', '1000:2000'],
      terminal: true,
      stdout: `file://${log}`,
    });
    assert.equal((await lab.client.tasks.task('tty').wait()).exitStatus, 0);
    await lab.end('tty');
    assert.equal(await readFile(log, 'utf8'), '1000 620\r\n');
  });

  test('shim_cgroup: the container has a shim of its own, in that cgroup', async (t) => {
    const shimCgroup = `/gantry-options-${process.pid}`;
    const cgroups = '/sys/fs/cgroup';
    const memory = existsSync(join(cgroups, 'memory')) ? join(cgroups, 'memory') : cgroups;
    t.after(async () => {
      for (const name of [...(await readdir(cgroups)), ''])
        if (existsSync(join(cgroups, name, shimCgroup))) rmdirSync(join(cgroups, name, shimCgroup));
    });
    await lab.run('shared', ['sleep', '1000']);
    await lab.run('grouped', ['sleep', '1000'], runcOptions({ shimCgroup }));
    const inCgroup = readFileSync(join(memory, shimCgroup, 'cgroup.procs'), 'utf8')
      .trim()
      .split('\n');
    assert.equal(inCgroup.length, 1);
    const [shim = ''] = inCgroup;
    assert.match(readFileSync(`/proc/${shim}/cmdline`, 'utf8'), /containerd-shim-gantry-v1/);
    await lab.end('grouped');
    await until('its shim has left', () => !existsSync(`/proc/${shim}`));
    assert.equal((await lab.client.tasks.task('shared').state()).status, 'running');
    await lab.end('shared');
  });

  test('options of another runtime are refused', async () => {
    const rootfs = await lab.record('foreign', ['true']);
    const options = anyToWire({ typeUrl: 'runtimeoptions.v1.Options', value: new Uint8Array() });
    await assert.rejects(lab.createTask('foreign', rootfs, { options }), {
      code: 'Unknown',
      message: /invalid task create option for io\.containerd\.runc\.v2/,
    });
    await lab.createTask('foreign', rootfs);
    await lab.end('foreign');
  });

  for (const version of [2, 3])
    test(`task_api_address: a shim that runs already, by version ${version} of its API`, async (t) => {
      const socket = join(dir, `shim-${version}`);
      const words = [
        '-namespace',
        lab.namespace,
        '-id',
        'own',
        '-address',
        daemon.address,
        '-socket',
        socket,
      ];
      const shim = spawn(ourShim, [...words, '-runc-root', join(dir, 'runc'), 'serve'], {
        stdio: 'ignore',
        env: { ...process.env, TTRPC_ADDRESS: `${daemon.address}.ttrpc` },
      });
      t.after(() => shim.kill('SIGKILL'));
      const ended = new Promise<void>((resolve) => shim.once('exit', () => resolve()));
      await until('the shim listens', () => existsSync(socket));
      const id = `given-${version}`;
      const pid = await lab.run(id, ['sleep', '1000'], {
        taskApiAddress: `unix://${socket}`,
        taskApiVersion: version,
      });
      await using connection = await connectTtrpc(socket, { namespace: lab.namespace });
      const held = await connection.client(Task).connect({ id });
      assert.deepEqual([held.shimPid, held.taskPid], [shim.pid, pid]);
      await daemon.kill();
      await daemon.start();
      assert.equal((await lab.client.tasks.task(id).state()).status, 'running');
      assert.equal(await lab.end(id), 137);
      await ended;
    });

  test('a task_api_address where nobody listens leaves nothing', async () => {
    const rootfs = await lab.record('nobody', ['true']);
    const given = { taskApiAddress: `unix://${join(dir, 'nobody')}`, taskApiVersion: 3 };
    await assert.rejects(lab.createTask('nobody', rootfs, given), { code: 'Unavailable' });
    await assert.rejects(lab.client.tasks.task('nobody').state(), { code: 'NotFound' });
    await lab.createTask('nobody', rootfs);
    await lab.end('nobody');
  });

  test('runtime_path takes the place of the runtime of the container', async () => {
    await lab.run('path', ['sleep', '1000'], { runtimePath: '/usr/bin/containerd-shim-runc-v2' });
    assert.equal((await attempt('pgrep', ['-f', `containerd-shim-runc-v2 .*-id path `])).status, 0);
    assert.equal(await lab.end('path'), 137);
  });

  test('binary-v2: a logger says that it is ready by a byte; one that only closes is refused', async () => {
    const logger = join(dir, 'logger');
    await writeFile(
      logger,
      '#!/bin/sh\nexec >>"$2" 2>&1\nprintf r >&5; exec 5>&-\ncat <&3 & cat <&4\nwait\n',
    );
    await chmod(logger, 0o755);
    const to = join(dir, 'v2.log');
    const script = 'echo out; echo err >&2';
    await lab.run('v2', ['sh', '-c', script], { stdout: `binary-v2://${logger}?--to=${to}` });
    await until('both lines are there', async () => (await readFile(to, 'utf8')).length === 8);
    assert.deepEqual((await readFile(to, 'utf8')).trim().split('\n').sort(), ['err', 'out']);
    await lab.end('v2');

    const silent = join(dir, 'silent');
    await writeFile(silent, '#!/bin/sh\nexec 5>&-\ncat <&3 >/dev/null\n');
    await chmod(silent, 0o755);
    const rootfs = await lab.record('silent', ['sleep', '1000']);
    await assert.rejects(lab.createTask('silent', rootfs, { stdout: `binary-v2://${silent}` }), {
      code: 'Unavailable',
      message: /silent ended its readiness descriptor without a byte/,
    });
    assert.notEqual(
      (await attempt('pgrep', ['-f', silent])).status,
      0,
      'the logger that was refused runs on',
    );
    await lab.createTask('silent', rootfs, { stdout: `binary://${silent}` });
    await lab.end('silent');
  });
});

describe('names of runtimes, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  let daemon: Daemon;
  let peer: Daemon;
  let ours: TaskLab;
  let theirs: TaskLab;
  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startGantry();
    peer = await startPeer();
    ours = await TaskLab.open(daemon, registry.reference('busybox'));
    theirs = await TaskLab.open(peer, registry.reference('busybox'));
  });
  after(async () => {
    await ours?.[Symbol.asyncDispose]();
    await theirs?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await peer?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const runWith = (lab: TaskLab, runtime: string, id: string) =>
    lab.ctr.attempt(['run', '--rm', '--runtime', runtime, registry.reference('busybox'), id, 'echo', 'ran']);

  for (const [index, name] of [
    'io.containerd.runc.v2',
    'io.containerd.runc.v1',
    'io.containerd.absent.v2',
    'io.containerd.runtime.v1.linux',
    'runc.v2',
    'runc',
    'io.containerd..v2',
    'io.containerd.runc/../x.v2',
    '/usr/bin/containerd-shim-runc-v2',
    '/absent/containerd-shim-runc-v2',
    'containerd-shim-runc-v2',
  ].entries())
    test(`${name}: the same answer as containerd's`, async () => {
      const expected = await runWith(theirs, name, `n${index}`);
      assert.deepEqual(await runWith(ours, name, `n${index}`), expected);
    });

  for (const name of ['io.containerd.gantry.v1', ourShim])
    test(`${name}: our own shim`, async () => {
      assert.deepEqual(await runWith(ours, name, 'own'), { status: 0, stdout: 'ran\n', stderr: '' });
    });

  test('our shim by its path is one process for one container, by the standard protocol', async () => {
    await ours.ctr(
      'run',
      '-d',
      '--runtime',
      ourShim,
      registry.reference('busybox'),
      'by-path',
      'sleep',
      '1000',
    );
    assert.equal((await attempt('pgrep', ['-f', 'containerd-shim-gantry-v1.* -id by-path '])).status, 0);
    assert.equal(await ours.end('by-path'), 137);
    await until(
      'its shim has left',
      async () => (await attempt('pgrep', ['-f', 'containerd-shim-gantry-v1.* -id by-path '])).status !== 0,
    );
  });
});
