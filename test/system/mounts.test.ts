/** The mount manager over the socket: a real daemon, kill -9, collection, and its plugins. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, readlinkSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ErrorCode, hasCode } from '../../src/base/errors.ts';
import { until } from '../../src/testing/until.ts';
import { Leases } from '../../src/wire/gen/containerd/services/leases/v1/leases_pb.js';
import { Mounts } from '../../src/wire/gen/containerd/services/mounts/v1/mounts_pb.js';
import { Tasks } from '../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import type { ActivationInfo } from '../../src/wire/gen/containerd/types/mount_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import type { CallOptions } from '../../src/wire/service.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';

const inside: CallOptions = { namespace: 'default' };

/** A mount that nothing keeps goes with the next collection: clients have a lease. */
async function leased(daemon: Daemon): Promise<CallOptions> {
  await using connection = connectGrpc(daemon.address);
  const { lease } = await connection.client(Leases).create({}, inside);
  return { ...inside, lease: lease?.id ?? '' };
}

const fails = (promise: Promise<unknown>, code: ErrorCode): Promise<void> =>
  assert.rejects(promise, (error) => {
    assert.ok(hasCode(error, code), String(error));
    return true;
  });

const listed = async (daemon: Daemon): Promise<string[]> => {
  await using connection = connectGrpc(daemon.address);
  const names: string[] = [];
  for await (const { info } of connection.client(Mounts).list({ filters: [] }, inside))
    names.push(info?.name ?? '');
  return names;
};

const mountedBelow = async (daemon: Daemon): Promise<string[]> =>
  (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(join(daemon.state, 'io.containerd.mount-manager.v1.bolt')));

/** A disk below the daemon's root, on a loop device, mounted, and a directory in it for the caller to bind. */
const disk = (daemon: Daemon, name: string) => [
  {
    type: 'mkfs/loop',
    source: join(daemon.root, `${name}.img`),
    options: ['X-containerd.mkfs.size=8MiB', 'X-containerd.mkfs.fs=ext2'],
  },
  { type: 'format/ext2', source: '{{ mount 0 }}', options: [] },
  { type: 'format/bind', source: '{{ mount 1 }}', options: ['rbind'] },
];

const devicesOf = (info: ActivationInfo | undefined): string =>
  readlinkSync(info?.active[0]?.mountPoint ?? '').slice('/dev/'.length);
const isAttached = (device: string): boolean => existsSync(`/sys/block/${device}/loop`);

test('activate, info, list, deactivate, as a client sees them', async () => {
  await using daemon = await startGantry();
  await using connection = connectGrpc(daemon.address);
  const mounts = connection.client(Mounts);
  const holding = await leased(daemon);
  const { info } = await mounts.activate(
    { name: 'd', mounts: disk(daemon, 'd'), labels: { a: 'b' } },
    holding,
  );
  assert.deepEqual(
    info?.active.map(({ mount }) => mount?.type),
    ['loop', 'ext2'],
  );
  assert.deepEqual(
    info?.system.map(({ type, source }) => [type, source]),
    [['bind', info?.active[1]?.mountPoint]],
  );
  assert.ok((info?.active[0]?.mountedAt?.seconds ?? 0n) > 0n);
  assert.deepEqual((await mounts.info({ name: 'd' }, inside)).info, info);
  assert.deepEqual(await listed(daemon), ['d']);
  await fails(mounts.activate({ name: 'd', mounts: disk(daemon, 'd') }, inside), 'AlreadyExists');
  await fails(
    mounts.activate({ name: 'n', mounts: [{ type: 'bind', source: '/' }] }, inside),
    'Unimplemented',
  );
  await fails(mounts.update({ info: { name: 'd' } }, inside), 'Unimplemented');
  await fails(mounts.info({ name: 'absent' }, inside), 'NotFound');
  await fails(mounts.info({ name: 'd' }, { namespace: 'other' }), 'NotFound');
  await fails(mounts.info({ name: 'd' }), 'FailedPrecondition');
  const device = devicesOf(info);
  assert.equal(isAttached(device), true);
  await mounts.deactivate({ name: 'd' }, inside);
  await fails(mounts.deactivate({ name: 'd' }, inside), 'NotFound');
  assert.deepEqual([await mountedBelow(daemon), isAttached(device)], [[], false]);
  const plugins = await daemon.ctr('plugins', 'ls');
  for (const line of [
    /mount-manager\.v1 +bolt +\S+ +ok/,
    /mount-handler\.v1 +erofs +\S+ +ok/,
    /grpc\.v1 +mounts +\S+ +ok/,
  ])
    assert.match(plugins, line);
});

test('a lease keeps a mount through kill -9; when it goes, so does the mount, in a synchronous delete', async () => {
  await using daemon = await startGantry();
  const under = { ...inside, lease: 'holder' };
  let device: string;
  {
    await using connection = connectGrpc(daemon.address);
    const mounts = connection.client(Mounts);
    await fails(
      mounts.activate({ name: 'd', mounts: disk(daemon, 'd') }, { ...inside, lease: 'absent' }),
      'NotFound',
    );
    await connection.client(Leases).create({ id: 'holder' }, inside);
    await connection.client(Leases).create({ id: 'another' }, inside);
    const { info } = await mounts.activate({ name: 'd', mounts: disk(daemon, 'd') }, under);
    device = devicesOf(info);
    await writeFile(join(info?.active[1]?.mountPoint ?? '', 'file'), 'kept');
    await connection.client(Leases).delete({ id: 'another', sync: true }, inside);
  }
  await daemon.kill();
  await daemon.start();
  assert.deepEqual(await listed(daemon), ['d']);
  await using connection = connectGrpc(daemon.address);
  const { info } = await connection.client(Mounts).info({ name: 'd' }, inside);
  assert.equal(await readFile(join(info?.active[1]?.mountPoint ?? '', 'file'), 'utf8'), 'kept');
  await connection.client(Leases).delete({ id: 'holder', sync: true }, inside);
  assert.deepEqual([await listed(daemon), await mountedBelow(daemon), isAttached(device)], [[], [], false]);
});

test('what kill -9 leaves in the middle of an activation is gone after the start', async () => {
  await using daemon = await startGantry();
  const places = join(daemon.state, 'io.containerd.mount-manager.v1.bolt/t');
  await using connection = connectGrpc(daemon.address);
  const holding = await leased(daemon);
  // A file system that takes a while to be made, so that the kill finds it there.
  const [first, ...rest] = disk(daemon, 'd');
  const bind = { type: 'bind', source: daemon.root, options: ['rbind'] };
  const slow = { ...first, options: ['X-containerd.mkfs.size=4GiB', 'X-containerd.mkfs.fs=ext4'] };
  const moved = rest.map((mount) => ({ ...mount, source: mount.source.replace('1', '2').replace('0', '1') }));
  const activation = connection
    .client(Mounts)
    .activate({ name: 'd', mounts: [bind, slow as typeof bind, ...moved] }, holding)
    .then(
      () => 'done',
      () => 'cut',
    );
  await until('its first mount stands', async () => (await mountedBelow(daemon)).length > 0);
  await daemon.kill();
  await activation;
  await mkdir(join(places, '999', '0'), { recursive: true });
  assert.equal((await attempt('mount', ['-t', 'tmpfs', 'left', join(places, '999', '0')])).status, 0);
  await daemon.start();
  if ((await listed(daemon)).length === 0) assert.deepEqual(await mountedBelow(daemon), []);
  assert.equal(existsSync(join(places, '999')), false);
  await using again = connectGrpc(daemon.address);
  const { info } = await again.client(Mounts).activate({ name: 'e', mounts: disk(daemon, 'e') }, holding);
  assert.equal(info?.active.length, 2);
  await again.client(Mounts).deactivate({ name: 'e' }, inside);
});

test('a container on a disk that the daemon mounts for it: run, files kept, unmounted with the task', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry();
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  await daemon.ctr('containers', 'create', image, 'c', 'sh', '-c', 'echo run >> /disk; sync; cat /disk');
  await using connection = connectGrpc(daemon.address);
  const [tasks, mounts] = [connection.client(Tasks), connection.client(Mounts)];
  // The container's own files go onto the disk first.
  const prepared = await mounts.activate({ name: 'fill', mounts: disk(daemon, 'c') }, await leased(daemon));
  const place = prepared.info?.active[1]?.mountPoint ?? '';
  const layers = join(daemon.root, 'io.containerd.snapshotter.v1.overlayfs/snapshots');
  const filled = await attempt('sh', ['-c', `cp -a ${layers}/*/fs/. ${place}/ && test -e ${place}/bin/sh`]);
  assert.equal(filled.status, 0, filled.stderr);
  await mounts.deactivate({ name: 'fill' }, inside);
  for (const lines of [1, 2]) {
    const stdout = join(daemon.state, `out${lines}`);
    await tasks.create({ containerId: 'c', rootfs: disk(daemon, 'c'), stdout: `file://${stdout}` }, inside);
    assert.deepEqual(await listed(daemon), ['c']);
    await fails(tasks.create({ containerId: 'c', rootfs: disk(daemon, 'c') }, inside), 'AlreadyExists');
    assert.deepEqual(await listed(daemon), ['c']);
    await tasks.start({ containerId: 'c' }, inside);
    assert.equal((await tasks.wait({ containerId: 'c' }, inside)).exitStatus, 0);
    await tasks.delete({ containerId: 'c' }, inside);
    assert.equal(await readFile(stdout, 'utf8'), 'run\n'.repeat(lines));
    assert.deepEqual([await listed(daemon), await mountedBelow(daemon)], [[], []]);
  }
  // One that cannot be made leaves nothing.
  const broken = [
    ...disk(daemon, 'c').slice(0, 2),
    { type: 'format/bind', source: '{{ mount 9 }}', options: ['rbind'] },
  ];
  await fails(tasks.create({ containerId: 'c', rootfs: broken }, inside), 'InvalidArgument');
  assert.deepEqual([await listed(daemon), await mountedBelow(daemon)], [[], []]);
});
