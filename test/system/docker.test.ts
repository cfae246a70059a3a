/**
 * Unmodified dockerd and docker on our daemon: version 28 with its own overlay2 images and with containerd's image
 * store, and Debian's 20.10. The suites are test/support/docker-*.suite.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DockerLab } from '../support/docker-lab.ts';
import { dockerImages, dockerPrunes } from '../support/docker-images.suite.ts';
import { dockerRestarts } from '../support/docker-restarts.suite.ts';
import { dockerRuns } from '../support/docker-runs.suite.ts';
import { dockerStreams } from '../support/docker-streams.suite.ts';
import { debianDocker, newestDocker } from '../support/peers.ts';

const newest = newestDocker();
const missing = 'docker 28 could not be unpacked: see tools/peers.sh';

for (const { name, binaries, storage } of [
  { name: 'docker 28 with overlay2', binaries: newest, storage: 'overlay2' },
  { name: "docker 28 with containerd's image store", binaries: newest, storage: 'containerd' },
  { name: "Debian's docker with overlay2", binaries: debianDocker(), storage: 'overlay2' },
] as const)
  describe(`${name}, as root`, { concurrency: 1, skip: skipFor(binaries === undefined) }, () => {
    let lab: DockerLab;
    const given = (): DockerLab => lab;
    before(async () => {
      if (binaries !== undefined) lab = await DockerLab.open({ binaries, storage });
    });
    after(async () => {
      await lab?.[Symbol.asyncDispose]();
    });

    test('info', async () => {
      const info = JSON.parse(await lab.docker('info', '--format', '{{json .}}'));
      assert.equal(info.Driver, storage === 'containerd' ? 'overlayfs' : 'overlay2');
      assert.equal(info.LiveRestoreEnabled, true);
      assert.equal(info.DefaultRuntime, 'runc');
      assert.match(String(info.ServerVersion), storage === 'containerd' ? /^2[89]/ : /^2\d/);
    });

    dockerImages(given);
    dockerRuns(given);
    dockerStreams(given);
    dockerRestarts(given);
    dockerPrunes(given);
  });

function skipFor(isMissing: boolean): string | false {
  if (process.getuid?.() !== 0) return 'needs root: it runs containers by runc';
  return isMissing ? missing : false;
}
