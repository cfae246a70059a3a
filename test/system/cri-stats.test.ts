/** What the kubelet measures and changes of running containers: statistics, resources, logs opened anew. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { until } from '../../src/testing/until.ts';
import { CriLab } from '../support/cri-lab.ts';

const mib = 1024n * 1024n;

void describe('the CRI: statistics, resources, logs', { concurrency: 1 }, () => {
  let lab: CriLab;
  let podSandboxId: string;
  let containerId: string;
  let logs: string;
  before(async () => {
    logs = await mkdtemp(join(tmpdir(), 'gantry-cri-stats-'));
    lab = await CriLab.start({ bridge: `gcrs${process.pid % 100_000}` });
    podSandboxId = await lab.runPod('measured', { logDirectory: logs });
    const script =
      'dd if=/dev/zero of=/written bs=1M count=3 2>/dev/null; while :; do echo line; usleep 5000; done';
    containerId = await lab.create(podSandboxId, 'main', ['sh', '-c', script], {
      labels: { role: 'measured' },
      logPath: 'main.log',
      linux: { resources: { memoryLimitInBytes: 64n * mib, cpuShares: 512n } },
    });
    await lab.runtime.startContainer({ containerId });
    await until('it writes', () => existsSync(join(logs, 'main.log')));
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(logs, { recursive: true, force: true });
  });

  void it('a container: processor, memory within its limit, what it has written', async () => {
    const { stats } = await lab.runtime.containerStats({ containerId });
    assert.equal(stats?.attributes?.id, containerId);
    assert.deepEqual(stats.attributes.labels, { role: 'measured' });
    assert.ok((stats.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 1_000_000n);
    const { usageBytes, availableBytes, workingSetBytes } = stats.memory ?? assert.fail();
    assert.ok((usageBytes?.value ?? 0n) > 0n);
    assert.equal((availableBytes?.value ?? 0n) + (workingSetBytes?.value ?? 0n), 64n * mib);
    assert.ok((stats.writableLayer?.usedBytes?.value ?? 0n) >= 3n * mib);
    assert.equal(
      stats.writableLayer?.fsId?.mountpoint,
      join(lab.daemon.root, 'io.containerd.snapshotter.v1.overlayfs'),
    );
    await until('a rate is known', async () => {
      const later = await lab.runtime.containerStats({ containerId });
      return (later.stats?.cpu?.usageNanoCores?.value ?? 0n) > 0n;
    });
    await assert.rejects(lab.runtime.containerStats({ containerId: 'no' }), (error) =>
      hasCode(error, 'NotFound'),
    );
  });

  void it('lists of them by pod and label, and in batches', async () => {
    const ids = async (filter: object): Promise<string[]> =>
      (await lab.runtime.listContainerStats({ filter })).stats.map(({ attributes }) => attributes?.id ?? '');
    assert.deepEqual(await ids({}), [containerId]);
    assert.deepEqual(await ids({ podSandboxId: podSandboxId.slice(0, 10) }), [containerId]);
    assert.deepEqual(await ids({ labelSelector: { role: 'other' } }), []);
    const [batch] = await Array.fromAsync(lab.runtime.streamContainerStats({}));
    assert.equal(batch?.containerStats[0]?.attributes?.id, containerId);
  });

  void it('a pod: the sum of its containers, processes and network', async () => {
    const { stats } = await lab.runtime.podSandboxStats({ podSandboxId });
    const { linux } = stats ?? assert.fail();
    assert.deepEqual(
      linux?.containers.map(({ attributes }) => attributes?.id),
      [containerId],
    );
    assert.ok((linux?.process?.processCount?.value ?? 0n) >= 2n);
    assert.equal(linux?.network?.defaultInterface?.name, 'eth0');
    const { stats: listed } = await lab.runtime.listPodSandboxStats({
      filter: { labelSelector: { app: 'measured' } },
    });
    assert.deepEqual(
      listed.map(({ attributes }) => attributes?.id),
      [podSandboxId],
    );
    const [batch] = await Array.fromAsync(lab.runtime.streamPodSandboxStats({}));
    assert.equal(batch?.podSandboxStats[0]?.attributes?.id, podSandboxId);
  });

  void it('new limits count at once and are told', async () => {
    await lab.runtime.updateContainerResources({
      containerId,
      linux: { memoryLimitInBytes: 96n * mib, cpuShares: 256n },
    });
    const { stats } = await lab.runtime.containerStats({ containerId });
    const { availableBytes, workingSetBytes } = stats?.memory ?? assert.fail();
    assert.equal((availableBytes?.value ?? 0n) + (workingSetBytes?.value ?? 0n), 96n * mib);
    const { status } = await lab.runtime.containerStatus({ containerId });
    assert.equal(status?.resources?.linux?.memoryLimitInBytes, 96n * mib);
    await assert.rejects(
      lab.runtime.updateContainerResources({ containerId, linux: { cpusetCpus: 'none' } }),
      (error) => hasCode(error, 'InvalidArgument'),
    );
  });

  void it('a log that was moved away is opened anew, and no line is torn', async () => {
    const file = join(logs, 'main.log');
    await rename(file, `${file}.1`);
    await lab.runtime.reopenContainerLog({ containerId });
    await until('it goes on there', () => readFileSync(file, 'utf8').includes('stdout F line\n'));
    for (const text of [readFileSync(`${file}.1`, 'utf8'), readFileSync(file, 'utf8')])
      assert.match(text, /^(?:\S+Z stdout F line\n)+$/);
  });
});
