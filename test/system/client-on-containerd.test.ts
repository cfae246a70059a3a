/**
 * The client against a real containerd, the newest that the machine has. Needs root, runc, docker-registry and skopeo.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { digestOf } from '../../src/base/digest.ts';
import {
  type ContainerFromImage,
  connect,
  createContainer,
  type EventEnvelope,
  type GantryClient,
  hasCode,
  type Image,
  logStreams,
  makeStreams,
  type TransferProgress,
} from '../../src/client/index.ts';
import { selectPlatform } from '../../src/platform/select.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { type Daemon, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';

const snapshotter = 'overlayfs';
/** runc keeps its state by namespace, for all daemons together. */
const namespace = `client-test-${process.pid}`;

async function textOf(stream: Readable | undefined): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream ?? []) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe('client against containerd', {
  skip: needsRoot('it runs containers'),
  concurrency: 1,
  timeout: 120_000,
}, () => {
  let daemon: Daemon;
  let registry: Registry;
  let gantry: GantryClient;
  let image: Image;
  let directory: string;
  const steps: TransferProgress[] = [];

  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startPeer();
    gantry = connect({ address: daemon.address, namespace });
    directory = await mkdtemp(join(tmpdir(), 'gantry-client-'));
    const pull = gantry.images.pull(registry.reference('busybox'), { snapshotter, scheme: 'http' });
    for await (const step of pull) steps.push(step);
    image = await pull.image();
  });
  after(async () => {
    await gantry?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (directory) await rm(directory, { recursive: true });
  });

  const create = (id: string, spec: ContainerFromImage['spec'], more: Partial<ContainerFromImage> = {}) =>
    createContainer({ gantry }, { id, image, snapshotter, spec, ...more });
  const streams = async (wanted: { stdin: boolean; terminal: boolean }) => {
    const { files } = await selectPlatform();
    return await makeStreams({ makeFifo: (path, mode) => files.makeFifo(path, mode), directory }, wanted);
  };
  const rootfs = (id: string) => gantry.snapshots(snapshotter).mounts(id);
  const remove = async (id: string): Promise<void> => {
    // This way round: a snapshot that no container holds may be collected before we come to it.
    await gantry.snapshots(snapshotter).remove(id);
    await gantry.containers.remove(id);
  };

  test('pull tells its progress and leaves an unpacked image', async () => {
    const names = JSON.stringify(steps.map(({ event, descriptor }) => [event, descriptor?.mediaType]));
    assert.match(names, /layer/);
    const again = gantry.images.pull(registry.reference('busybox'), { snapshotter, scheme: 'http' });
    assert.equal((await again.image()).target.digest, image.target.digest);
    const usage = await gantry.images.usage(image, { snapshotter });
    assert.ok(usage.contentBytes > 0 && (usage.snapshotBytes ?? 0) > 0);
    assert.equal((await gantry.images.content(image)).config.platform.os, 'linux');
  });

  test('a pull that fails says how, one that is aborted is Canceled', async () => {
    const absent = gantry.images.pull(`${registry.host}/absent:1`, { snapshotter, scheme: 'http' });
    await assert.rejects(absent.image(), { code: 'NotFound' });
    const signal = AbortSignal.abort();
    const aborted = gantry.images.pull(registry.reference('busybox'), {
      snapshotter,
      scheme: 'http',
      signal,
    });
    await assert.rejects(aborted.image(), { code: 'Canceled' });
  });

  test('layers that a pull did not unpack are unpacked, twice is no error', async () => {
    const native = gantry.snapshots('native');
    await using lease = await gantry.leases.hold();
    const top = await gantry.images.unpack(image, { snapshotter: 'native', lease: lease.id });
    assert.equal((await native.stat(top)).kind, 'committed');
    assert.equal(await gantry.images.unpack(image, { snapshotter: 'native', lease: lease.id }), top);
  });

  test('a container: streams, exit code, state, events, nothing left', async () => {
    const events: EventEnvelope[] = [];
    const seen = (async () => {
      for await (const event of gantry.events.subscribe([`namespace==${namespace}`])) {
        events.push(event);
        // The last word on it; that the task is deleted is told by the shim, which may end before it has.
        if (event.topic === '/containers/delete') return;
      }
    })();
    await create('one', { args: ['sh', '-c', 'cat; echo err >&2; exit 7'] });
    const io = await streams({ stdin: true, terminal: false });
    const task = await gantry.tasks.create('one', { rootfs: await rootfs('one'), io: io.paths });
    const exited = task.wait();
    const output = Promise.all([textOf(io.stdout), textOf(io.stderr)]);
    const pid = await task.start();
    assert.ok((await task.pids()).includes(pid));
    assert.equal((await task.state()).status, 'running');
    assert.equal((await gantry.tasks.metrics())[0]?.id, 'one');
    io.stdin?.end('from outside\n', () => {
      io.stdin?.destroy();
      void task.closeStdin();
    });
    assert.equal((await exited).exitStatus, 7);
    assert.deepEqual(await output, ['from outside\n', 'err\n']);
    assert.equal((await task.delete()).exitStatus, 7);
    await io[Symbol.asyncDispose]();
    await remove('one');
    await seen;
    assert.equal(events.find(({ topic }) => topic === '/tasks/exit')?.fields?.['exitStatus'], 7);
    assert.deepEqual(await readdir(directory), []);
    assert.deepEqual(await gantry.containers.list(), []);
    assert.deepEqual(await gantry.leases.list(), []);
  });

  test('a terminal, resized; exec beside it; kill', async () => {
    await create('two', { args: ['sh'], terminal: true });
    await using io = await streams({ stdin: true, terminal: true });
    const task = await gantry.tasks.create('two', { rootfs: await rootfs('two'), io: io.paths });
    const exited = task.wait();
    const typed = textOf(io.stdout);
    await task.start();
    await task.resize({ columns: 91, rows: 31 });
    await using execIo = await streams({ stdin: false, terminal: false });
    const process = {
      args: ['sh', '-c', 'echo inside; exit 3'],
      cwd: '/',
      user: { uid: 0, gid: 0 },
      env: ['PATH=/bin'],
    };
    const exec = await task.exec({ execId: 'e1', process, io: execIo.paths });
    const execExited = exec.wait();
    const execOutput = textOf(execIo.stdout);
    await exec.start();
    assert.equal((await execExited).exitStatus, 3);
    assert.equal(await execOutput, 'inside\n');
    await exec.delete();
    io.stdin?.write('stty size; exit 5\n');
    assert.equal((await exited).exitStatus, 5);
    assert.match(await typed, /31 91/);
    await task.delete();
    await remove('two');
  });

  test('a log, pause, resume, and kill of all', async () => {
    await create('three', { args: ['sh', '-c', 'echo logged; sleep 1000'] });
    const io = logStreams(`file://${directory}/three.log`);
    const task = await gantry.tasks.create('three', { rootfs: await rootfs('three'), io });
    const exited = task.wait();
    await task.start();
    await task.pause();
    assert.equal((await task.state()).status, 'paused');
    await task.resume();
    await assert.rejects(task.delete(), /running/);
    await task.kill(9, { all: true });
    assert.equal((await exited).exitStatus, 137);
    await task.delete();
    await remove('three');
    await rm(join(directory, 'three.log'));
  });

  test('a container that cannot be made leaves no snapshot', async () => {
    await assert.rejects(create('four', { args: [], entrypoint: [] }), { code: 'InvalidArgument' });
    await assert.rejects(create('five', { args: ['x'] }, { user: 'worker' }), { code: 'FailedPrecondition' });
    for await (const { kind } of gantry.snapshots(snapshotter).list()) assert.equal(kind, 'committed');
  });

  test('content: write, read in parts, list, remove', async () => {
    await using lease = await gantry.leases.hold();
    const bytes = Buffer.from('some bytes that nobody else has');
    const expected = digestOf(bytes);
    const options = { expected, labels: { mine: 'yes' }, lease: lease.id };
    assert.equal(await gantry.content.write(bytes, options), expected);
    assert.equal(await gantry.content.write(bytes, options), expected);
    assert.equal((await gantry.content.info(expected)).labels['mine'], 'yes');
    let part = '';
    for await (const chunk of gantry.content.read(expected, { offset: 5, lengthBytes: 5 }))
      part += Buffer.from(chunk).toString();
    assert.equal(part, 'bytes');
    await assert.rejects(gantry.content.readAll(expected, { limitBytes: 3 }), { code: 'ResourceExhausted' });
    const listed: string[] = [];
    for await (const { digest } of gantry.content.list(['labels.mine==yes'])) listed.push(digest);
    assert.deepEqual(listed, [expected]);
    await assert.rejects(gantry.content.write(Buffer.from('x'), { expected: digestOf('y') }), {
      code: 'FailedPrecondition',
    });
    await gantry.content.remove(expected);
    await assert.rejects(gantry.content.info(expected), { code: 'NotFound' });
  });

  test('images by other names, namespaces, labels of containers, what the daemon is', async () => {
    await gantry.images.create({ name: 'other:1', target: image.target });
    await assert.rejects(gantry.images.create({ name: 'other:1', target: image.target }), {
      code: 'AlreadyExists',
    });
    await gantry.images.remove('other:1', { sync: true });
    await assert.rejects(gantry.images.get('other:1'), (error) => hasCode(error, 'NotFound'));
    await gantry.namespaces.create('extra', { a: 'b' });
    assert.deepEqual(await gantry.namespaces.labels('extra'), { a: 'b' });
    await gantry.namespaces.remove('extra');
    await gantry.containers.create({ id: 'bare', spec: { ociVersion: '1.1.0' }, labels: { a: '1', b: '2' } });
    const { labels } = await gantry.containers.setLabels('bare', { a: '', c: '3' });
    assert.deepEqual(labels, { b: '2', c: '3' });
    await gantry.containers.remove('bare');
    assert.match((await gantry.introspection.version()).version, /\d/);
    assert.equal((await gantry.introspection.server()).pid, daemon.pid);
    const plugins = await gantry.introspection.plugins(['type==io.containerd.snapshotter.v1,id==overlayfs']);
    assert.equal(plugins.length, 1);
  });

  test('a daemon that is not there is Unavailable', async () => {
    await using nobody = connect({ address: join(directory, 'absent.sock') });
    await assert.rejects(nobody.introspection.version(), { code: 'Unavailable' });
  });
});
