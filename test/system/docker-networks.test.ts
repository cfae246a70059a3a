/** Networks of dockerd for containers on our daemon: runc enters the namespaces that dockerd made. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { dockerSkip } from '../support/docker.suite.ts';
import { DockerLab } from '../support/docker-lab.ts';
import { newestDocker } from '../support/peers.ts';
import { attempt } from '../support/run.ts';

const binaries = newestDocker();

describe('networks of docker 28, as root', { concurrency: 1, skip: dockerSkip(binaries) }, () => {
  let lab: DockerLab;
  before(async () => {
    if (binaries !== undefined) lab = await DockerLab.open({ binaries, storage: 'overlay2', networks: true });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('a container has an address on the bridge, its own and no other interface', async () => {
    const shown = await lab.once('ip -o -4 addr');
    assert.match(shown, /^1: lo +inet 127\.0\.0\.1\/8 /m);
    assert.match(shown, /^\d+: eth0 +inet 172\.\d+\.\d+\.\d+\/16 /m);
    assert.equal(shown.trim().split('\n').length, 2);
    assert.doesNotMatch(await lab.once('ip -o addr', '--network', 'none'), /eth0/);
  });

  test('containers of a network know each other by name, ports are published, a network is shared', async () => {
    await lab.docker('network', 'create', 'mine');
    const serve = 'echo hello from web >/index.html; exec httpd -f -p 80 -h /';
    await lab.start('web', serve, '--network', 'mine', '-p', '8080:80');
    const fetched = (address: string, network: string): Promise<string> =>
      lab.once(`wget -qO- http://${address}/`, '--network', network);
    await until('it serves', async () => (await fetched('web', 'mine')) === 'hello from web\n');
    assert.equal(await fetched('127.0.0.1', 'container:web'), 'hello from web\n');
    const enter = ['-n', '-t', String(lab.engine.pid), 'busybox', 'wget', '-qO-', 'http://127.0.0.1:8080/'];
    assert.equal((await attempt('nsenter', enter)).stdout, 'hello from web\n');
    await lab.docker('rm', '-f', 'web');
    await lab.docker('network', 'rm', 'mine');
  });
});
