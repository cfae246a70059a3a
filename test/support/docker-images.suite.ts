/** Images by docker on our daemon: made, kept, moved and thrown away. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import type { DockerLab } from './docker-lab.ts';
import { dockerPlugins } from './peers.ts';
import { run } from './run.ts';
import { ensureSampleImages } from './sample-images.ts';

export function dockerImages(given: () => DockerLab): void {
  registries(given);
  archives(given);
  changes(given);
  builds(given);
}

/** Last of all tests of a dockerd: it throws everything away. */
export function dockerPrunes(given: () => DockerLab): void {
  test('prune leaves nothing behind, in dockerd and in our store', async () => {
    const lab = given();
    await lab.start('ended', 'exit 0', '-v', 'unused:/data');
    await lab.becomes('ended', 'exited');
    const pruned = await lab.docker('container', 'prune', '-f');
    assert.match(pruned, /Total reclaimed space/);
    await lab.docker('volume', 'rm', 'unused');
    await lab.docker('builder', 'prune', '-af');
    await lab.docker('image', 'prune', '-af');
    assert.equal(await lab.docker('ps', '-aq'), '');
    assert.equal(await lab.docker('images', '-aq'), '');
    await until('our store is empty', async () => {
      const nouns = ['containers', 'images', 'leases', 'snapshots', 'content'] as const;
      const left = await Promise.all(nouns.map((noun) => lab.stored(noun)));
      if (left.some((lines) => lines.length > 0)) throw new Error(JSON.stringify(left));
      return true;
    });
  });
}

function registries(given: () => DockerLab): void {
  test('pull, tag, push, remove, pull again', async () => {
    const lab = given();
    const { docker, registry, image } = lab;
    assert.match(await docker('pull', image), /Image is up to date/);
    const mine = `${registry.host}/mine:1`;
    await docker('tag', image, mine);
    assert.match(await docker('push', mine), /1: digest: sha256:[0-9a-f]{64} size: \d+/);
    const layersOf = async (name: string): Promise<unknown> => {
      const told = await run('skopeo', ['inspect', '--tls-verify=false', `docker://${name}`]);
      return JSON.parse(told).Layers;
    };
    assert.deepEqual(await layersOf(mine), await layersOf(image));
    await docker('rmi', mine);
    assert.notEqual((await docker.attempt(['image', 'inspect', mine])).status, 0);
    await docker('pull', mine);
    assert.equal(await docker('run', '--rm', mine, 'echo', 'pulled'), 'pulled\n');
    await docker('rmi', mine);
    const absent = await docker.attempt(['pull', `${registry.host}/absent:1`]);
    assert.equal(absent.status, 1);
    assert.match(absent.stderr, /not found|manifest unknown/);
  });
}

function archives(given: () => DockerLab): void {
  test('save and load; an archive that skopeo made', async () => {
    const { docker, image, engine } = given();
    const [saved, other] = [join(engine.dir, 'saved.tar'), join(engine.dir, 'other.tar')];
    await docker('tag', image, 'kept:1');
    await docker('save', '-o', saved, 'kept:1');
    await docker('rmi', 'kept:1');
    assert.match(await docker('load', '-i', saved), /Loaded image: kept:1/);
    assert.equal(await docker('run', '--rm', 'kept:1', 'echo', 'loaded'), 'loaded\n');
    const layout = await ensureSampleImages();
    await run('skopeo', ['copy', '-q', `oci:${layout}:busybox`, `docker-archive:${other}:other:2`]);
    assert.match(await docker('load', '-i', other), /Loaded image: other:2/);
    assert.equal(await docker('run', '--rm', 'other:2', 'sh', '-c', 'echo $SAMPLE'), 'busybox\n');
    await docker('rmi', 'kept:1', 'other:2');
  });

  test('export of a container and import as an image', async () => {
    const lab = given();
    const tree = join(lab.engine.dir, 'tree.tar');
    await lab.start('source', 'echo mine >/mine');
    await lab.becomes('source', 'exited');
    await lab.docker('export', '-o', tree, 'source');
    await lab.docker('import', '--change', 'CMD ["/bin/cat", "/mine"]', tree, 'imported:1');
    assert.equal(await lab.docker('run', '--rm', 'imported:1'), 'mine\n');
    await lab.docker('rm', 'source');
    await lab.docker('rmi', 'imported:1');
  });
}

function changes(given: () => DockerLab): void {
  test('cp both ways, diff, commit', async () => {
    const lab = given();
    const { docker } = lab;
    const [to, from] = [join(lab.engine.dir, 'to'), join(lab.engine.dir, 'from')];
    await writeFile(to, 'copied in\n');
    await lab.start('changed', 'rm /etc/group; echo made >/made; exec sleep 1000');
    await docker('cp', to, 'changed:/root/in');
    assert.equal(await docker('exec', 'changed', 'cat', '/root/in'), 'copied in\n');
    await docker('cp', 'changed:/made', from);
    assert.equal(await readFile(from, 'utf8'), 'made\n');
    const diff = (await docker('diff', 'changed')).trim().split('\n').toSorted();
    assert.deepEqual(diff, ['A /made', 'A /root/in', 'C /etc', 'C /root', 'D /etc/group']);
    await docker('commit', '--change', 'CMD ["cat", "/made", "/root/in"]', 'changed', 'committed:1');
    assert.equal(await docker('run', '--rm', 'committed:1'), 'made\ncopied in\n');
    assert.notEqual((await docker.attempt(['run', '--rm', 'committed:1', 'cat', '/etc/group'])).status, 0);
    await docker('rm', '-f', 'changed');
    await docker('cp', to, `${await docker('create', '--name', 'cold', lab.image).then(() => 'cold')}:/cold`);
    await docker('cp', 'cold:/cold', from);
    assert.equal(await readFile(from, 'utf8'), 'copied in\n');
    await docker('rm', 'cold');
    await docker('rmi', 'committed:1');
  });
}

/** A build context over `base` that keeps what its steps saw. */
async function context(lab: DockerLab, name: string, base: string, first: string): Promise<string> {
  const directory = join(lab.engine.dir, name);
  await mkdir(directory);
  await copyFile('/bin/busybox', join(directory, 'sh'));
  await writeFile(join(directory, 'given'), 'given\n');
  const steps = [`FROM ${base}`, first, 'COPY given /given', 'RUN read a </given; echo "built $a" >/built'];
  const command = 'CMD ["/bin/sh", "-c", "read a </built; echo $a"]';
  await writeFile(join(directory, 'Dockerfile'), [...steps, command, ''].join('\n'));
  return directory;
}

function builds(given: () => DockerLab): void {
  test('the builder of old makes an image from another one', async () => {
    const lab = given();
    const directory = await context(lab, 'old', lab.image, 'RUN echo first >/first');
    await lab.docker('build', '-t', 'old:1', directory);
    assert.equal(await lab.docker('run', '--rm', 'old:1'), 'built given\n');
    assert.equal(await lab.docker('run', '--rm', 'old:1', 'cat', '/first'), 'first\n');
    assert.match(await lab.docker('history', '--no-trunc', 'old:1'), /echo first >\/first/);
    await lab.docker('rmi', 'old:1');
  });

  const plugins = dockerPlugins();
  const skip = plugins === undefined ? 'docker-buildx could not be unpacked: see tools/peers.sh' : false;
  test('BuildKit makes an image from nothing, and takes it from its cache', { skip }, async () => {
    const lab = given();
    const client = lab.engine.env['DOCKER_CONFIG'] as string;
    await mkdir(client, { recursive: true });
    await symlink(plugins as string, join(client, 'cli-plugins'));
    const directory = await context(lab, 'new', 'scratch', 'COPY sh /bin/sh');
    const build = ['build', '--network', 'host', '--progress', 'plain', '-t', 'new:1', directory];
    const build1 = await lab.docker.attempt(build, { env: { DOCKER_BUILDKIT: '1' } });
    assert.equal(build1.status, 0, build1.stderr);
    assert.equal(await lab.docker('run', '--rm', '--network', 'host', 'new:1'), 'built given\n');
    const build2 = await lab.docker.attempt(build, { env: { DOCKER_BUILDKIT: '1' } });
    assert.equal(build2.status, 0, build2.stderr);
    assert.match(build2.stderr, /CACHED/);
    await lab.docker('rmi', 'new:1');
  });
}
