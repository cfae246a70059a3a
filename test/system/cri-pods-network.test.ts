/** Pods with a network of their own, by Debian's bridge plugin, and what a killed daemon finds of them again. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { until } from '../../src/testing/until.ts';
import { ContainerState } from '../../src/wire/gen/runtime/v1/container_pb.js';
import { PodSandboxState } from '../../src/wire/gen/runtime/v1/sandbox_pb.js';
import { CriLab } from '../support/cri-lab.ts';
import { run } from '../support/run.ts';

void describe('the CRI: pods with a network, and a killed daemon', { concurrency: 1 }, () => {
  let lab: CriLab;
  before(async () => {
    lab = await CriLab.start({ bridge: `gcri${process.pid % 100_000}` });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });
  const ready = () =>
    until('the pods of before are known', async () => {
      try {
        await lab.runtime.listPodSandbox({});
        return true;
      } catch (error) {
        if (hasCode(error, 'Unavailable')) return false;
        throw error;
      }
    });

  void it('a pod has an address, a host name, and takes both away with it', async () => {
    const podSandboxId = await lab.runPod('net');
    const { status } = await lab.runtime.podSandboxStatus({ podSandboxId });
    assert.match(status?.network?.ip ?? '', /^10\.251\.7\.\d+$/);
    const containerId = await lab.create(podSandboxId, 'main', ['sleep', '600']);
    await lab.runtime.startContainer({ containerId });
    const { stdout } = await lab.runtime.execSync({
      containerId,
      cmd: ['sh', '-c', 'hostname; ip -o -4 addr show eth0; ip -o -4 addr show lo'],
    });
    const text = Buffer.from(stdout).toString();
    assert.match(text, /^host-net$/m);
    assert.match(text, new RegExp(`eth0 .*inet ${status?.network?.ip}/24`));
    assert.match(text, /lo .*inet 127\.0\.0\.1/);
    await lab.runtime.stopPodSandbox({ podSandboxId });
    assert.deepEqual(readdirSync(join(lab.daemon.state, 'io.containerd.grpc.v1.cri/netns')), []);
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.assertNothingLeft();
  });

  void it('killed and started again, the daemon knows its pods, and what ended meanwhile', async () => {
    const podSandboxId = await lab.runPod('kept');
    const made: string[] = [];
    for (const [name, command] of [
      ['stays', 'sleep 600'],
      ['ends', 'while [ ! -e /go ]; do usleep 20000; done; exit 5'],
      ['never-started', 'true'],
      ['lost', 'sleep 600'],
    ] as const) {
      const containerId = await lab.create(podSandboxId, name, ['sh', '-c', command]);
      if (name !== 'never-started') await lab.runtime.startContainer({ containerId });
      made.push(containerId);
    }
    const [stays = '', ends = '', never = '', lost = ''] = made;
    const statusOf = async (containerId: string) =>
      (await lab.runtime.containerStatus({ containerId })).status ?? assert.fail();
    const asBefore = await statusOf(stays);
    const { status: pod } = await lab.runtime.podSandboxStatus({ podSandboxId });
    await lab.restart(async () => {
      const rootfs = (id: string) =>
        join(lab.daemon.state, 'io.containerd.runtime.v2.task/k8s.io', id, 'rootfs');
      await run('touch', [join(rootfs(ends), 'go')]);
    });
    await ready();
    assert.deepEqual((await lab.runtime.podSandboxStatus({ podSandboxId })).status, pod);
    assert.deepEqual(await statusOf(stays), asBefore);
    assert.equal((await statusOf(never)).state, ContainerState.CONTAINER_CREATED);
    await until(
      'the end is known',
      async () => (await statusOf(ends)).state === ContainerState.CONTAINER_EXITED,
    );
    assert.deepEqual([(await statusOf(ends)).exitCode, (await statusOf(ends)).reason], [5, 'Error']);
    await assert.rejects(lab.runPod('kept'), /is reserved for/);
    await lab.runtime.startContainer({ containerId: never });
    const { exitCode } = await lab.runtime.execSync({ containerId: stays, cmd: ['true'] });
    assert.equal(exitCode, 0);
    await lab.runtime.stopContainer({ containerId: lost });
    await lab.runtime.stopPodSandbox({ podSandboxId });
    await lab.restart();
    await ready();
    const stopped = (await lab.runtime.podSandboxStatus({ podSandboxId })).status;
    assert.equal(stopped?.state, PodSandboxState.SANDBOX_NOTREADY);
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.assertNothingLeft();
  });

  void it('a container that takes more memory than it may is told as OOMKilled', async () => {
    const podSandboxId = await lab.runPod('oom');
    const containerId = await lab.create(
      podSandboxId,
      'main',
      ['sh', '-c', 'x=xxxxxxxx; while :; do x=$x$x; done'],
      {
        linux: { resources: { memoryLimitInBytes: 16n * 1024n * 1024n } },
      },
    );
    await lab.runtime.startContainer({ containerId });
    const status = async () => (await lab.runtime.containerStatus({ containerId })).status ?? assert.fail();
    await until('it has ended', async () => (await status()).state === ContainerState.CONTAINER_EXITED);
    await until('the reason is known', async () => (await status()).reason === 'OOMKilled');
    assert.equal((await status()).exitCode, 137);
    await lab.restart();
    await ready();
    assert.equal((await status()).reason, 'OOMKilled');
    await lab.runtime.removePodSandbox({ podSandboxId });
  });

  void it('a pod whose plugins cannot take its network back is told of, and can be removed all the same', async () => {
    const podSandboxId = await lab.runPod('stuck');
    const undo = await lab.breakNetwork();
    await assert.rejects(lab.runtime.stopPodSandbox({ podSandboxId }), /disconnect eth0 of pod/);
    await lab.runtime.removePodSandbox({ podSandboxId });
    await undo();
    assert.match(await lab.daemon.log(), /the network of a removed pod is left for later/);
    await lab.restart();
    await ready();
    await lab.assertNothingLeft();
  });

  void it('killed while pods and containers are made, it takes away what nobody was told of', async () => {
    const told: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const making = Promise.allSettled(
        ['a', 'b'].map(async (name) => {
          const id = await lab.runPod(`cut-${round}-${name}`);
          told.push(id);
          await lab.create(id, 'main', ['sleep', '600']);
        }),
      );
      const active = async () =>
        (await lab.daemon.ctr('-n', 'k8s.io', 'leases', 'ls')).trim().split('\n').length;
      await until('one is under way', async () => (await active()) > told.length + 1);
      await lab.restart();
      await making;
      await ready();
    }
    const { items } = await lab.runtime.listPodSandbox({});
    const known = new Set(items.map(({ id }) => id));
    for (const id of told) assert.ok(known.has(id), `pod ${id} was told of and is gone`);
    for (const { id, state } of items) {
      assert.equal(state, PodSandboxState.SANDBOX_READY);
      await lab.runtime.removePodSandbox({ podSandboxId: id });
    }
    await lab.assertNothingLeft();
  });
});
