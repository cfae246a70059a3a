/** The mount manager over the real database and the real kernel. Needs root. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { type LeaseId, parseContainerId } from '../../base/identifiers.ts';
import type { Mount } from '../../platform/mount.ts';
import { bind, fails, MountLab, platform } from './mount-lab.fixture.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'needs root';

void describe('mount manager', { skip: needsRoot }, () => {
  void test('what needs nobody is left to the caller', async () => {
    await using lab = await MountLab.make();
    await fails(lab.activate('a', [bind(lab.root)]), 'Unimplemented');
    await fails(lab.activate('a', []), 'Unimplemented');
    await fails(lab.activate('', [bind(lab.root)]), 'InvalidArgument');
    assert.deepEqual(lab.store.records(), []);
  });

  void test('format fills in an overlay of what was mounted before it, mkdir makes its directories', async () => {
    await using lab = await MountLab.make();
    for (const name of ['one', 'two']) writeFileSync(join(lab.folder(name), name), name);
    const [upper, work] = [join(lab.root, 'upper'), join(lab.root, 'work')];
    const overlay: Mount = {
      type: 'format/mkdir/overlay',
      source: 'overlay',
      target: '',
      options: [
        `X-containerd.mkdir.path=${upper}:0755:12:34`,
        `X-containerd.mkdir.path=${work}`,
        'lowerdir={{ overlay 1 0 }}',
        `upperdir=${upper}`,
        `workdir=${work}`,
      ],
    };
    const lower = [bind(join(lab.root, 'one'), 'ro'), bind(join(lab.root, 'two'), 'ro')];
    const { active, system } = await lab.activate('o', [...lower, overlay], { a: 'b' });
    assert.equal(active.length, 2);
    assert.deepEqual(system, [
      {
        ...overlay,
        type: 'overlay',
        options: [
          `lowerdir=${active[1]?.mountPoint}:${active[0]?.mountPoint}`,
          `upperdir=${upper}`,
          `workdir=${work}`,
        ],
      },
    ]);
    const status = statSync(upper);
    assert.deepEqual([status.mode & 0o777, status.uid, status.gid], [0o755, 12, 34]);
    assert.equal(statSync(work).mode & 0o777, 0o700);
    assert.equal(readFileSync(join(active[1]?.mountPoint ?? '', 'two'), 'utf8'), 'two');
    assert.deepEqual(await lab.manager.info(lab.ctx, 'o'), { name: 'o', active, system, labels: { a: 'b' } });
    assert.deepEqual(
      (await Array.fromAsync(lab.manager.list(lab.ctx, ['labels.a==b,name==o']))).map(({ name }) => name),
      ['o'],
    );
    assert.deepEqual(await Array.fromAsync(lab.manager.list(lab.fixture.within('other'), [])), []);
    await fails(lab.activate('o', [...lower, overlay]), 'AlreadyExists');
    await lab.manager.deactivate(lab.ctx, 'o');
    assert.deepEqual(lab.mounted(), []);
    await fails(lab.manager.deactivate(lab.ctx, 'o'), 'NotFound');
    await fails(lab.manager.info(lab.ctx, 'o'), 'NotFound');
  });

  void test('temporary mounts all of them and gives a bind mount back', async () => {
    await using lab = await MountLab.make();
    writeFileSync(join(lab.folder('one'), 'here'), '');
    const { active, system } = await lab.activate('t', [bind(join(lab.root, 'one'))], {}, lab.ctx, true);
    assert.deepEqual(system, [bind(active[0]?.mountPoint ?? '')]);
    assert.ok(existsSync(join(active[0]?.mountPoint ?? '', 'here')));
  });

  void test('a failure in the middle leaves nothing mounted and the name free', async () => {
    await using lab = await MountLab.make();
    const image = join(lab.folder('images'), 'disk');
    await writeFile(image, '');
    await truncate(image, 1024 * 1024);
    const mounts: Mount[] = [
      { type: 'loop', source: image, target: '', options: [] },
      { type: 'format/ext4', source: '{{ mount 0 }}', target: '', options: [] },
      bind(lab.root),
      { type: 'format/bind', source: '{{ mount 7 }}', target: '', options: ['rbind'] },
    ];
    await assert.rejects(lab.activate('x', mounts), /mount 1 \(ext4\) of "x"/);
    await fails(
      lab.activate('x', [bind(lab.root), ...mounts.slice(3)]),
      'InvalidArgument',
      /index out of bounds/,
    );
    assert.deepEqual([lab.mounted(), lab.store.records(), await lab.names()], [[], [], []]);
  });

  void test('files and directories are made below the roots only, whatever a path goes through', async () => {
    await using lab = await MountLab.make();
    const outside = join(lab.directory, 'outside');
    mkdirSync(outside);
    symlinkSync(outside, join(lab.root, 'out'));
    const mkdirAt = (path: string) =>
      lab.activate('m', [
        { type: 'mkdir/bind', source: lab.root, target: '', options: [`X-containerd.mkdir.path=${path}`] },
      ]);
    const mkfsAt = (source: string, ...options: string[]) =>
      lab.activate('m', [
        {
          type: 'mkfs/loop',
          source,
          target: '',
          options: options.map((option) => `X-containerd.mkfs.${option}`),
        },
      ]);
    await fails(mkdirAt(join(outside, 'x')), 'Unimplemented', /no root/);
    await fails(mkdirAt(`${lab.root}2/x`), 'Unimplemented');
    await fails(mkdirAt(`${lab.root}/../outside/x`), 'InvalidArgument');
    await fails(mkdirAt(join(lab.root, 'out/x')), 'PermissionDenied');
    await fails(mkdirAt(join(lab.root, 'out')), 'FailedPrecondition');
    await fails(mkdirAt(join(lab.root, 'absent/x')), 'NotFound');
    await fails(mkdirAt(`${join(lab.root, 'x')}:9999`), 'InvalidArgument');
    await fails(mkdirAt(`${join(lab.root, 'x')}:4755`), 'InvalidArgument');
    await fails(mkdirAt(`${join(lab.root, 'x')}:0755:0`), 'InvalidArgument');
    writeFileSync(join(lab.root, 'file'), '');
    await fails(mkdirAt(join(lab.root, 'file')), 'FailedPrecondition');
    await fails(mkfsAt(join(outside, 'disk'), 'size=1m'), 'Unimplemented');
    await fails(mkfsAt(join(lab.root, 'out/disk'), 'size=1m'), 'PermissionDenied');
    await fails(mkfsAt(join(lab.root, 'disk')), 'InvalidArgument', /requires/);
    await fails(mkfsAt(join(lab.root, 'disk'), 'size=99999t'), 'InvalidArgument');
    await fails(mkfsAt(join(lab.root, 'disk'), 'size=1m', 'fs=../../bin/sh'), 'InvalidArgument');
    await fails(mkfsAt(join(lab.root, 'disk'), 'size=1m', 'uuid=-F'), 'InvalidArgument');
    await fails(mkfsAt(join(lab.root, 'disk'), 'size=1m', 'shell=true'), 'InvalidArgument');
    await fails(mkfsAt(lab.folder('folder'), 'size=1m'), 'FailedPrecondition');
    await fails(
      lab.activate('m', [{ type: 'loop', source: 'relative', target: '', options: [] }]),
      'InvalidArgument',
    );
    await fails(
      lab.activate('m', [
        { type: 'format/bind', source: '{{ exec "id" }}', target: '', options: [] },
        bind('/'),
      ]),
      'InvalidArgument',
    );
    await fails(
      lab.activate('m', [{ ...bind('/'), type: 'format/bind', target: '..' }], {}, lab.ctx, true),
      'PermissionDenied',
    );
    assert.deepEqual([existsSync(join(outside, 'x')), existsSync(join(outside, 'disk'))], [false, false]);
    assert.deepEqual([lab.mounted(), lab.store.records()], [[], []]);
  });

  void test('collection: a lease, a back reference or a label keeps a mount; nothing else does', async () => {
    await using lab = await MountLab.make();
    const { leases, containers, images } = lab.fixture.store;
    const mounts = [bind(lab.root), { ...bind('{{ mount 0 }}'), type: 'format/bind' }];
    const lease = await leases.create(lab.ctx, { labels: {} });
    await lab.activate('leased', mounts, {}, withLease(lab.ctx, lease.id));
    await lab.activate('of container', mounts, { 'containerd.io/gc.bref.container': 'c1' });
    await lab.activate('of nobody', mounts, { 'containerd.io/gc.bref.container': 'c2' });
    await lab.activate('of image', mounts);
    await lab.activate('free', mounts);
    await fails(lab.activate('no lease', mounts, {}, withLease(lab.ctx, 'absent' as LeaseId)), 'NotFound');
    await containers.create(lab.ctx, {
      id: parseContainerId('c1'),
      labels: {},
      image: '',
      runtime: { name: 'runc', options: undefined },
      spec: { typeUrl: 's', value: new Uint8Array() },
      snapshotter: '',
      snapshotKey: '',
      extensions: {},
      sandbox: '',
    });
    await images.create(lab.ctx, {
      name: 'i' as never,
      target: { mediaType: 'x', digest: `sha256:${'0'.repeat(64)}` as never, sizeBytes: 1 },
      labels: { 'containerd.io/gc.ref.mount.a': 'of image' },
    });
    await lab.fixture.collector.run(lab.ctx);
    assert.deepEqual(await lab.names(), ['leased', 'of container', 'of image']);
    assert.equal(lab.mounted().length, 3);
    await leases.delete(lab.ctx, lease.id, {});
    await containers.delete(lab.ctx, parseContainerId('c1'));
    await lab.fixture.collector.run(lab.ctx);
    assert.deepEqual(await lab.names(), ['of image']);
    assert.equal(lab.mounted().length, 1);
  });

  void test('an activation under way is not collected', async () => {
    await using lab = await MountLab.make();
    await lab.store.begin(lab.ctx, 'under way', {}, 'this boot');
    await lab.fixture.collector.run(lab.ctx);
    assert.equal(lab.store.records().length, 1);
  });

  void test('after kill -9 and after a boot: what stands is kept, the rest is taken away', async () => {
    await using lab = await MountLab.make();
    const image = join(lab.folder('images'), 'disk');
    await writeFile(image, '');
    await truncate(image, 1024 * 1024);
    const { active } = await lab.activate('stands', [
      { type: 'loop', source: image, target: '', options: [] },
    ]);
    const lost = await lab.activate('lost', [
      bind(lab.root),
      { ...bind('{{ mount 0 }}'), type: 'format/bind' },
    ]);
    platform.mounts.unmount(lost.active[0]?.mountPoint ?? '');
    // Killed between the mount and its row.
    const number = await lab.store.begin(lab.ctx, 'cut', {}, 'this boot');
    const place = join(lab.directory, 'state', 't', String(number), '0');
    mkdirSync(place, { recursive: true });
    platform.mounts.mount(bind(lab.root), place);
    // Killed between a row's end and its mount's.
    const left = await lab.activate('left', [
      bind(lab.root),
      { ...bind('{{ mount 0 }}'), type: 'format/bind' },
    ]);
    await lab.store.remove(lab.ctx, 'left');
    await lab.restart();
    assert.deepEqual(await lab.names(), ['stands']);
    assert.deepEqual(lab.mounted(), []);
    assert.equal(existsSync(place), false);
    assert.equal(existsSync(left.active[0]?.mountPoint ?? ''), false);
    const device = readlinkSync(active[0]?.mountPoint ?? '');
    assert.equal(existsSync(`/sys/block/${device.slice('/dev/'.length)}/loop`), true);
    await lab.restart('the next boot');
    assert.deepEqual(await lab.names(), []);
    assert.equal(existsSync(`/sys/block/${device.slice('/dev/'.length)}/loop`), false);
  });

  void test('two activations of one name: one is made, the other hears of it when it stands', async () => {
    await using lab = await MountLab.make();
    const mounts = [bind(lab.root), { ...bind('{{ mount 0 }}'), type: 'format/bind' }];
    const outcomes = await Promise.allSettled([lab.activate('same', mounts), lab.activate('same', mounts)]);
    assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
    assert.equal((await lab.manager.info(lab.ctx, 'same')).active.length, 1);
    assert.equal(lab.mounted().length, 1);
  });
});
