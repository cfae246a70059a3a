/** `ctr install`: programs out of an image, which the daemon then finds. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Ctr, ctrOf, debianCtr } from '../support/ctr.ts';
import { startGantry } from '../support/daemon.ts';
import { peerBinaries } from '../support/peers.ts';
import { startRegistry } from '../support/registry.ts';
import { run } from '../support/run.ts';

/** An archive with an image that has `program` as `bin/NAME`. */
async function imageWith(program: string, name: string, directory: string): Promise<string> {
  const [layout, archive] = [join(directory, 'layout'), join(directory, 'image.tar')];
  await mkdir(join(directory, 'bin'));
  await copyFile(program, join(directory, 'bin', name));
  await run('umoci', ['init', '--layout', layout]);
  await run('umoci', ['new', '--image', `${layout}:one`]);
  await run('umoci', ['insert', '--image', `${layout}:one`, join(directory, 'bin'), '/bin']);
  await run('skopeo', ['copy', '-q', `oci:${layout}:one`, `oci-archive:${archive}:example.com/tools:1`]);
  return archive;
}

test('what is installed is found: a shim out of an image runs a container', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-install-'));
  try {
    await using registry = await startRegistry(['busybox']);
    await using daemon = await startGantry();
    const peers = await peerBinaries();
    const archive = await imageWith(
      join(peers, 'containerd-shim-runc-v2'),
      'containerd-shim-installed-v1',
      directory,
    );
    await daemon.ctr('images', 'import', archive);
    const image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
    const attempt = (id: string) =>
      daemon.ctr.attempt([
        'run',
        '--rm',
        '--runtime',
        'io.containerd.installed.v1',
        image,
        id,
        'echo',
        'here',
      ]);
    assert.equal((await attempt('before')).status, 1);
    const clients: Ctr[] = [daemon.ctr, ctrOf(debianCtr, daemon.address)];
    for (const ctr of clients) {
      await ctr('install', '--replace', 'example.com/tools:1');
      const again = await ctr.attempt(['install', 'example.com/tools:1']);
      assert.match(again.stderr, /cannot replace/);
    }
    assert.match(await daemon.ctr('plugins', 'ls', '-d', 'id==opt'), /path +\/.*\/opt\n/);
    const { status, stdout, stderr } = await attempt('after');
    assert.deepEqual([status, stdout, stderr], [0, 'here\n', '']);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
