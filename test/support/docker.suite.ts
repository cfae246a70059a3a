/** What unmodified dockerd and docker do on our daemon, whatever their version and storage. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { DockerOptions } from './docker.ts';
import { dockerImages, dockerPrunes } from './docker-images.suite.ts';
import { DockerLab } from './docker-lab.ts';
import { dockerRestarts } from './docker-restarts.suite.ts';
import { dockerRuns } from './docker-runs.suite.ts';
import { dockerStreams } from './docker-streams.suite.ts';
import type { DockerBinaries } from './peers.ts';

/** `binaries` is undefined where they could not be had. */
export function dockerTests(
  name: string,
  binaries: DockerBinaries | undefined,
  storage: DockerOptions['storage'],
): void {
  describe(`${name}, as root`, { concurrency: 1, skip: dockerSkip(binaries) }, () => {
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
      assert.equal(info.Images, 1);
    });

    dockerImages(given);
    dockerRuns(given);
    dockerStreams(given);
    dockerRestarts(given);
    dockerPrunes(given);
  });
}

export function dockerSkip(binaries: DockerBinaries | undefined): string | false {
  if (process.getuid?.() !== 0) return 'needs root: it runs containers by runc';
  return binaries === undefined ? 'docker 28 could not be unpacked: see tools/peers.sh' : false;
}
