/**
 * Checkpoint and restore. What CRIU itself does needs a CRIU that works on the kernel; everything around it is tested
 * with a runc whose dumps are plain files (support/runc-stand-in.ts), against the peer where clients can see it.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { parseDigest } from '../../src/base/digest.ts';
import type { HeldLease } from '../../src/client/index.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { anyToWire, packAny } from '../../src/wire/any.ts';
import type { Descriptor } from '../../src/wire/gen/containerd/types/descriptor_pb.js';
import {
  CheckpointOptionsSchema,
  OptionsSchema,
} from '../../src/wire/gen/containerd/types/runc/options/oci_pb.js';
import { ctrOf, debianCtr } from '../support/ctr.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { makeRuncStandIn, type RuncStandIn } from '../support/runc-stand-in.ts';
import { TaskLab } from '../support/task-lab.ts';

const skip = needsRoot('it runs containers by runc');
const criuTar = 'application/vnd.containerd.container.criu.checkpoint.criu.tar';
const configBlob = 'application/vnd.containerd.container.checkpoint.config.v1+proto';

interface Entry {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

describe('checkpoint and restore, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  let image: string;
  let dir: string;
  let runc: RuncStandIn;
  let daemon: Daemon;
  let peer: Daemon;
  let ours: TaskLab;
  let theirs: TaskLab;
  let lease: HeldLease;
  before(async () => {
    registry = await startRegistry(['busybox']);
    image = registry.reference('busybox');
    dir = await mkdtemp(join(tmpdir(), 'gantry-checkpoint-'));
    runc = await makeRuncStandIn(join(dir, 'runc'));
    daemon = await startGantry();
    peer = await startPeer();
    ours = await TaskLab.open(daemon, image);
    theirs = await TaskLab.open(peer, image);
    lease = await ours.client.leases.hold();
  });
  after(async () => {
    await lease?.[Symbol.asyncDispose]();
    await ours?.[Symbol.asyncDispose]();
    await theirs?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await peer?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (dir) await rm(dir, { recursive: true });
  });

  const start = (lab: TaskLab, id: string, ...flags: string[]): Promise<string> =>
    lab.ctr('run', '-d', '--runc-binary', runc.path, ...flags, image, id, 'sleep', '1000');
  const runcOptions = (options: MessageInitShape<typeof OptionsSchema> = {}) => ({
    options: anyToWire(packAny(OptionsSchema, { binaryName: runc.path, ...options })),
  });
  const checkpointOptions = (options: MessageInitShape<typeof CheckpointOptionsSchema>) => ({
    options: anyToWire(packAny(CheckpointOptionsSchema, options)),
  });
  const workOf = (id: string): string =>
    join(daemon.root, 'io.containerd.runtime.v2.task', ours.namespace, id);

  /** Takes a checkpoint that the suite's lease keeps. */
  async function dumped(id: string): Promise<Descriptor> {
    const { descriptors } = await ours.tasks.checkpoint({ containerId: id }, { lease: lease.id });
    const dump = descriptors.find(({ mediaType }) => mediaType === criuTar);
    assert.ok(dump);
    return dump;
  }

  /** Entries of the index that an image names, in their order. */
  async function indexOf(lab: TaskLab, name: string): Promise<Entry[]> {
    const line = (await lab.ctr('images', 'ls')).split('\n').find((row) => row.startsWith(`${name} `)) ?? '';
    const digest = /sha256:[0-9a-f]{64}/.exec(line)?.[0] ?? '';
    return (JSON.parse(await lab.ctr('content', 'get', digest)) as { manifests: Entry[] }).manifests;
  }

  /** Kinds, modes, owners, sizes and names in the dump of a checkpoint; times are left out. */
  async function dumpOf(lab: TaskLab, name: string): Promise<string[]> {
    const { digest } = (await indexOf(lab, name)).find(({ mediaType }) => mediaType === criuTar) as Entry;
    const file = join(dir, `${lab.namespace}.tar`);
    await writeFile(file, lab.client.content.read(parseDigest(digest)));
    const { stdout } = await attempt('tar', ['--numeric-owner', '-tvf', file]);
    // The words that runc was given name paths of the daemon, so that file's size differs.
    return stdout
      .trim()
      .split('\n')
      .map((line) => line.replace(/\d{4}-\d\d-\d\d \d\d:\d\d/, '').replace(/\d+ +inventory/, 'inventory'));
  }

  for (const client of ['2.1', '1.6'] as const)
    test(`a checkpoint into the content store, and a restore, are what the peer makes of it (ctr ${client})`, async () => {
      const made = async (lab: TaskLab, { address }: Daemon) => {
        const ctr = (...args: string[]): Promise<string> =>
          client === '1.6' ? ctrOf(debianCtr, address)('-n', lab.namespace, ...args) : lab.ctr(...args);
        const [name, id, again] = [`kept-${client}`, `taken-${client}`, `again-${client}`] as const;
        await start(lab, id);
        await ctr('containers', 'checkpoint', '--task', '--image', '--rw', id, name);
        const index = await indexOf(lab, name);
        const running = (await lab.client.tasks.task(id).state()).status;
        await lab.end(id);
        await ctr('containers', 'restore', '--live', '--rw', again, name);
        const restored = (await lab.client.tasks.task(again).state()).status;
        await lab.end(again);
        return {
          types: index.map(({ mediaType }) => mediaType),
          dump: await dumpOf(lab, name),
          spec: index.find(({ mediaType }) => mediaType === configBlob)?.size,
          running,
          restored,
        };
      };
      const expected = await made(theirs, peer);
      assert.deepEqual([expected.running, expected.restored], ['running', 'running']);
      assert.ok(expected.types.includes(criuTar) && expected.types.includes(configBlob));
      assert.ok(expected.dump.some((line) => line.includes('fdinfo/1.img link to core-1.img')));
      assert.deepEqual(await made(ours, daemon), expected);
    });

  test('restore --live starts from the dump, and the task lives on as any other', async () => {
    await start(ours, 'before');
    await ours.ctr('containers', 'checkpoint', '--task', '--image', '--rw', 'before', 'dumped');
    await ours.end('before');
    await using events = await ours.listen();
    await ours.ctr('containers', 'restore', '--live', '--rw', 'after', 'dumped');
    assert.equal(await readFile(join(dir, 'runc/restored'), 'utf8'), 'before\n');
    const task = ours.client.tasks.task('after');
    const { status, pid } = await task.state();
    assert.equal(status, 'running');
    const echo = ['tasks', 'exec', '--exec-id', 'e', 'after', 'echo', 'restored'];
    assert.equal(await ours.ctr(...echo), 'restored\n');
    assert.ok((await task.pids()).includes(pid));
    assert.equal(await ours.end('after'), 137);
    assert.ok(!existsSync(workOf('after')), 'what it was restored from stays');
    await until('the delete is told', () =>
      events.of('after').some(({ topic }) => topic === '/tasks/delete'),
    );
    const told = events.of('after').map(({ topic }) => topic.slice('/tasks/'.length));
    assert.deepEqual(told, ['create', 'start', 'exec-added', 'exec-started', 'exit', 'exit', 'delete']);
  });

  test('a dump in the store survives the daemon, and a restored task too', async () => {
    await start(ours, 'outlives');
    await ours.ctr('containers', 'checkpoint', '--task', '--image', 'outlives', 'outliving');
    await ours.end('outlives');
    await daemon.kill();
    await daemon.start();
    await ours.ctr('containers', 'restore', '--live', 'again', 'outliving');
    await daemon.kill();
    await daemon.start();
    assert.equal((await ours.client.tasks.task('again').state()).status, 'running');
    assert.equal(await ours.end('again'), 137);
  });

  test('a terminal is restored as one', async () => {
    await start(ours, 'shell');
    const checkpoint = await dumped('shell');
    await ours.end('shell');
    const log = join(dir, 'terminal.log');
    await ours.run('pty', ['sh', '-c', 'tty; sleep 1000'], {
      flags: ['--tty'],
      ...runcOptions(),
      terminal: true,
      stdout: `file://${log}`,
      checkpoint,
    });
    await until('it has told its terminal', async () => (await readFile(log, 'utf8')).includes('/dev/pts/0'));
    assert.equal(await ours.end('pty'), 137);
  });

  test('--exit ends the task, and its end is told', async () => {
    await start(ours, 'leaves');
    const wait = ours.client.tasks.task('leaves').wait();
    await ours.ctr('tasks', 'checkpoint', '--exit', 'leaves');
    assert.equal((await wait).exitStatus, 137);
    await ours.end('leaves');
  });

  test('with an image path the dump stays there, and nothing is stored', async () => {
    await start(ours, 'by-path');
    const blobs = await ours.ctr('content', 'ls', '-q');
    const [imagePath, workPath] = [join(dir, 'image'), join(dir, 'work')];
    const { descriptors } = await ours.tasks.checkpoint({
      containerId: 'by-path',
      ...checkpointOptions({
        imagePath,
        workPath,
        parentPath: '../parent',
        openTcp: true,
        externalUnixSockets: true,
        terminal: true,
        fileLocks: true,
        emptyNamespaces: ['network'],
        cgroupsMode: 'soft',
      }),
    });
    assert.deepEqual(descriptors, []);
    assert.equal(await ours.ctr('content', 'ls', '-q'), blobs);
    assert.equal(await readFile(join(imagePath, 'core-1.img'), 'utf8'), 'by-path\n');
    const words = (await runc.calls('checkpoint')).at(-1)?.join(' ');
    assert.equal(
      words,
      `checkpoint --image-path ${imagePath} --work-path ${workPath} --tcp-established --ext-unix-sk --shell-job ` +
        '--file-locks --empty-ns network --manage-cgroups-mode soft --parent-path ../parent --leave-running by-path',
    );
    await ours.end('by-path');
    // Restored from the same place by each of the two ways to name it.
    const criuWorkPath = join(dir, 'criu-work');
    await ours.run('from-path', ['sleep', '1000'], runcOptions({ criuImagePath: imagePath, criuWorkPath }));
    const restored = (await runc.calls('restore')).at(-1)?.join(' ') ?? '';
    assert.ok(restored.includes(`--image-path ${imagePath} --work-path ${criuWorkPath} `), restored);
    await ours.end('from-path');
    const size = BigInt(0);
    const annotations = { RestoreFromPath: imagePath };
    const checkpoint = { mediaType: criuTar, digest: `sha256:${'0'.repeat(64)}`, size, annotations };
    await ours.run('annotated', ['sleep', '1000'], { ...runcOptions(), checkpoint });
    assert.ok((await runc.calls('restore')).at(-1)?.includes(imagePath));
    await ours.end('annotated');
  });

  test('another shim is told the same paths', async () => {
    const runtimePath = '/usr/bin/containerd-shim-runc-v2';
    await ours.run('foreign', ['sleep', '1000'], { ...runcOptions(), runtimePath });
    const checkpoint = await dumped('foreign');
    await ours.end('foreign');
    await ours.run('foreign-again', ['sleep', '1000'], { ...runcOptions(), runtimePath, checkpoint });
    assert.equal(await readFile(join(dir, 'runc/restored'), 'utf8'), 'foreign\n');
    assert.equal(await ours.end('foreign-again'), 137);
  });

  test('what cannot be restored is refused, and leaves nothing', async () => {
    const rootfs = await ours.record('refused', ['sleep', '1000']);
    const digest = `sha256:${'a'.repeat(64)}`;
    const size = BigInt(1);
    const absent = { ...runcOptions(), checkpoint: { mediaType: criuTar, digest, size } };
    await assert.rejects(ours.createTask('refused', rootfs, absent), {
      code: 'Unknown',
      message: `content digest ${digest}: not found`,
    });
    const other = { ...runcOptions(), checkpoint: { mediaType: 'text/plain', digest, size } };
    await assert.rejects(ours.createTask('refused', rootfs, other), {
      code: 'Unknown',
      message: 'unsupported checkpoint type "text/plain"',
    });
    assert.ok(!existsSync(workOf('refused')));

    await start(ours, 'damaged');
    const dump = await dumped('damaged');
    await ours.end('damaged');
    const blobs = join(daemon.root, 'io.containerd.content.v1.content/blobs/sha256');
    await using file = await open(join(blobs, dump.digest.replace('sha256:', '')), 'r+');
    const { size: lengthBytes } = await file.stat();
    await file.write('damage', lengthBytes - 3000);
    const damaged = { ...runcOptions(), checkpoint: dump };
    await assert.rejects(ours.createTask('refused', rootfs, damaged), {
      code: 'DataLoss',
      message: /damaged on disk/,
    });
    assert.ok(!existsSync(workOf('refused')));
    await ours.createTask('refused', rootfs, runcOptions());
    await ours.end('refused');
  });

  test('a dump that fails leaves neither files nor ingests, and the task runs on', async () => {
    await ours.run('fails', ['sleep', '1000']);
    const earlier = await readdir(workOf('fails'));
    const outcome = await ours.ctr.attempt(['tasks', 'checkpoint', 'fails']);
    assert.equal(outcome.status, 1);
    assert.deepEqual(await readdir(workOf('fails')), earlier);
    assert.equal((await ours.ctr('content', 'active')).trim().split('\n').length, 1);
    assert.equal((await ours.client.tasks.task('fails').state()).status, 'running');
    await ours.end('fails');
    await assert.rejects(ours.tasks.checkpoint({ containerId: 'fails' }), { code: 'NotFound' });
  });

  test('kill -9 of the daemon during a checkpoint leaves the task, and nothing that outlives it', async () => {
    await start(ours, 'interrupted');
    const earlier = (await runc.calls('checkpoint')).length;
    {
      await using _held = await runc.hold();
      const lost = assert.rejects(ours.tasks.checkpoint({ containerId: 'interrupted' }), {
        code: 'Unavailable',
      });
      await until('runc is at it', async () => (await runc.calls('checkpoint')).length > earlier);
      await daemon.kill();
      await lost;
      await daemon.start();
      assert.equal((await ours.client.tasks.task('interrupted').state()).status, 'running');
    }
    assert.ok((await dumped('interrupted')).size > 0n);
    await ours.end('interrupted');
    assert.ok(!existsSync(workOf('interrupted')));
    assert.equal((await ours.ctr('content', 'active')).trim().split('\n').length, 1);
  });

  test('without a CRIU that works the reason is that of the peer', async (t) => {
    if ((await criuProblem()) === undefined) return t.skip('CRIU works here');
    const reasonOf = async (lab: TaskLab): Promise<string | undefined> => {
      await lab.ctr('run', '-d', image, 'real', 'sleep', '1000');
      const { status, stderr } = await lab.ctr.attempt(['tasks', 'checkpoint', 'real']);
      assert.equal(status, 1);
      await lab.end('real');
      return /criu.*?(?= path=|$)/im.exec(stderr)?.[0];
    };
    const expected = await reasonOf(theirs);
    assert.ok(expected);
    assert.equal(await reasonOf(ours), expected);
  });

  test('CRIU itself: a counter goes on where it was', async (t) => {
    const problem = await criuProblem();
    if (problem !== undefined) return t.skip(`CRIU does not work here: ${problem}`);
    const log = join(dir, 'counter.log');
    const counting = 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done';
    await ours.ctr('run', '-d', '--log-uri', `file://${log}`, image, 'counts', 'sh', '-c', counting);
    const last = async (): Promise<number> => Number((await readFile(log, 'utf8')).trim().split('\n').at(-1));
    await until('it counts', async () => (await last()) > 5);
    await ours.ctr('containers', 'checkpoint', '--task', '--image', '--rw', 'counts', 'counted');
    await ours.end('counts');
    const counted = await last();
    await ours.ctr('containers', 'restore', '--live', '--rw', 'counts-on', 'counted');
    await until('it counts on', async () => (await last()) > counted);
    await ours.end('counts-on');
  });
});

/** Why CRIU cannot be used; undefined when it says that it can. */
async function criuProblem(): Promise<string | undefined> {
  const found = await attempt('sh', ['-c', 'command -v criu']);
  if (found.status !== 0) return 'criu is not installed';
  const { status, stdout, stderr } = await attempt('criu', ['check']);
  return status === 0 ? undefined : `criu check: ${(stderr + stdout).trim().split('\n').at(-1)}`;
}
