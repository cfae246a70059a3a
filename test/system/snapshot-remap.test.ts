/**
 * Containers in user namespaces on snapshots with shifted owners, as both ctr ask for them (`--remap-labels`), beside a
 * real containerd; where mounts cannot shift ids (ramfs), the copies that ctr makes; and the label of the upper
 * directory. Needs root.
 */
import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect, type Mount } from '../../src/client/index.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { type Ctr, ctrOf, debianCtr } from '../support/ctr.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { run } from '../support/run.ts';

const skip = needsRoot('it makes user namespaces and mounts');
const plugin = '[plugins."io.containerd.snapshotter.v1.overlayfs"]\n';
const remap = ['--uidmap', '0:100000:65536', '--gidmap', '0:200000:65536', '--remap-labels'];
const script =
  'cat /proc/self/uid_map | tr -s " "; stat -c "%n %u:%g" / /bin/busybox; echo x >/new && mkdir /of-worker && ' +
  'chown 1000:1000 /of-worker && stat -c "%n %u:%g" /new /of-worker';
const seen = '/ 0:0\n/bin/busybox 0:0\n/new 0:0\n/of-worker 1000:1000\n';

const owner = (path: string): string => {
  const { uid, gid } = lstatSync(path);
  return `${uid}:${gid}`;
};

const optionOf = (mounts: readonly Mount[], name: string): string =>
  mounts[0]?.options.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';

/** The mapped root of a container passes through the daemon's private directory to its root file system. */
const openUp = (daemon: Daemon): Promise<void> => chmod(dirname(daemon.state), 0o711);

/** Runs the script, looks at the host side, removes the container. What the container printed. */
async function runRemapped(
  daemon: Daemon,
  ctr: Ctr,
  image: string,
  { flags = remap, ids = ['100000:200000', '101000:201000'] }: { flags?: string[]; ids?: string[] } = {},
): Promise<{ printed: string; mounts: readonly Mount[] }> {
  const printed = await ctr('run', ...flags, image, 'remapped', '/bin/sh', '-c', script);
  await using client = connect({ address: daemon.address, namespace: 'default' });
  const mounts = await client.snapshots('overlayfs').mounts('remapped');
  const upper = optionOf(mounts, 'upperdir');
  assert.deepEqual(
    [owner(upper), owner(join(upper, 'new')), owner(join(upper, 'of-worker'))],
    [ids[0], ids[0], ids[1]],
  );
  await ctr('containers', 'rm', 'remapped');
  return { printed, mounts };
}

describe('snapshots for user namespaces, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  let image: string;
  let daemon: Daemon;
  let peer: Daemon;
  before(async () => {
    registry = await startRegistry(['busybox', 'debian']);
    image = registry.reference('busybox');
    const config = `${plugin}upperdir_label = true\n`;
    [daemon, peer] = [await startGantry({ config }), await startPeer({ config })];
    for (const each of [daemon, peer]) {
      await openUp(each);
      for (const tag of ['busybox', 'debian'] as const)
        await each.ctr('images', 'pull', '--plain-http', registry.reference(tag));
    }
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await peer?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  test("ctr 2.1: files are root's inside, written ones have host ids, the image's keep theirs", async () => {
    const { printed, mounts } = await runRemapped(daemon, daemon.ctr, image);
    assert.equal(printed, ` 0 100000 65536\n${seen}`);
    assert.equal(optionOf(mounts, 'uidmap'), '0:100000:65536');
    assert.equal(owner(join(optionOf(mounts, 'lowerdir'), 'bin/busybox')), '0:0');
  });

  test('ctr 1.6 makes a copy without labels; with them it cannot mount what a containerd 2.1 answers either', async () => {
    const { printed, mounts } = await runRemapped(daemon, ctrOf(debianCtr, daemon.address), image, {
      flags: remap.slice(0, -1),
    });
    assert.equal(printed, ` 0 100000 65536\n${seen}`);
    assert.equal(optionOf(mounts, 'uidmap'), '');
    for (const each of [daemon, peer]) {
      const old = ctrOf(debianCtr, each.address);
      const { status, stderr } = await old.attempt(['run', ...remap, image, 'labelled', 'true']);
      assert.notEqual(status, 0);
      assert.match(stderr, /failed to mount \S+: invalid argument/);
      await old('snapshots', 'rm', 'labelled');
    }
  });

  test('several ranges, and the same at a real containerd', async () => {
    const flags = ['0:100000:1000', '1000:300000:1000'].flatMap((map) => ['--uidmap', map, '--gidmap', map]);
    const how = { flags: [...flags, '--remap-labels'], ids: ['100000:100000', '300000:300000'] };
    const ours = await runRemapped(daemon, daemon.ctr, image, how);
    assert.equal(ours.printed, ` 0 100000 1000\n 1000 300000 1000\n${seen}`);
    const theirs = await runRemapped(peer, peer.ctr, image, how);
    assert.equal(ours.printed, theirs.printed);
  });

  test('mounts, labels and capabilities are those of containerd', async () => {
    const labels = {
      'containerd.io/snapshot/uidmapping': '0:100000:1000,1000:300000:1000',
      'containerd.io/snapshot/gidmapping': '0:100000:1000',
      'containerd.io/gc.root': 'test',
    };
    const answers = async (each: Daemon): Promise<unknown> => {
      await using client = connect({ address: each.address, namespace: 'default' });
      const snapshots = client.snapshots('overlayfs');
      const tops: string[] = [];
      for await (const { key, kind } of snapshots.list()) if (kind === 'committed') tops.push(key);
      tops.sort();
      const made: unknown[] = [
        await snapshots.prepare('bare', { labels }),
        await snapshots.view('bare-view', { labels }),
      ];
      for (const [at, parent] of tops.entries())
        made.push(
          await snapshots.prepare(`run-${at}`, { parent, labels }),
          await snapshots.view(`view-${at}`, { parent, labels }),
          (await snapshots.stat(`run-${at}`)).labels,
          Object.keys((await snapshots.stat(parent)).labels).includes(
            'containerd.io/snapshot/overlay.upperdir',
          ),
        );
      const detail = await each.ctr('plugins', 'ls', '-d', 'id==overlayfs');
      made.push(/remap-ids,only-remap-ids/.test(detail));
      // Numbers of directories are given in another order where layers are unpacked side by side.
      const text = JSON.stringify(made).replaceAll(each.root, 'ROOT');
      return JSON.parse(text.replaceAll(/snapshots\/\d+\//g, 'snapshots/N/'));
    };
    assert.deepEqual(await answers(daemon), await answers(peer));
  });

  for (const slowChown of [true, false])
    test(`on a file system without id-mapped mounts, slow_chown = ${slowChown}`, async () => {
      const dir = await mkdtemp(join(tmpdir(), 'gantry-ramfs-'));
      await run('mount', ['-t', 'ramfs', 'none', dir]);
      try {
        const config = `${plugin}root_path = "${dir}/overlay"\nslow_chown = ${slowChown}\n`;
        await using far = await startGantry({ config });
        await openUp(far);
        await far.ctr('images', 'pull', '--plain-http', image);
        if (slowChown) {
          const { printed, mounts } = await runRemapped(far, far.ctr, image);
          assert.equal(printed, ` 0 100000 65536\n${seen}`);
          assert.equal(optionOf(mounts, 'uidmap'), '');
          assert.match(optionOf(mounts, 'lowerdir'), /:/);
        } else {
          const { status, stderr } = await far.ctr.attempt(['run', ...remap, image, 'no', 'true']);
          assert.notEqual(status, 0);
          assert.match(stderr, /doesn't support idmap mounts on this host, configure `slow_chown`/);
        }
      } finally {
        await run('umount', ['-l', dir]);
        await rm(dir, { recursive: true });
      }
    });
});
