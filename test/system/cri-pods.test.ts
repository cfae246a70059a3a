/** Pods and containers as the kubelet meets them, on the daemon's own socket, over the real runc. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { until } from '../../src/testing/until.ts';
import { ContainerState } from '../../src/wire/gen/runtime/v1/container_pb.js';
import { ContainerEventType } from '../../src/wire/gen/runtime/v1/events_pb.js';
import { PodSandboxState } from '../../src/wire/gen/runtime/v1/sandbox_pb.js';
import { CriLab } from '../support/cri-lab.ts';

void describe('the CRI: pods and containers', { concurrency: 1 }, () => {
  let lab: CriLab;
  before(async () => {
    lab = await CriLab.start();
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  void it('a pod runs, is told of, listed, stopped and removed', async () => {
    const podSandboxId = await lab.runPod('life');
    const { status, containersStatuses, timestamp } = await lab.runtime.podSandboxStatus({ podSandboxId });
    assert.equal(status?.state, PodSandboxState.SANDBOX_READY);
    assert.equal(status.metadata?.name, 'life');
    assert.deepEqual(status.labels, { app: 'life' });
    assert.deepEqual(containersStatuses, []);
    assert.ok(timestamp > status.createdAt);
    const byPart = await lab.runtime.podSandboxStatus({ podSandboxId: podSandboxId.slice(0, 12) });
    assert.equal(byPart.status?.id, podSandboxId);

    const listed = async (filter: Parameters<typeof lab.runtime.listPodSandbox>[0]['filter']) =>
      (await lab.runtime.listPodSandbox({ ...(filter && { filter }) })).items.map(({ id }) => id);
    assert.deepEqual(await listed(undefined), [podSandboxId]);
    assert.deepEqual(await listed({ id: podSandboxId.slice(0, 10) }), [podSandboxId]);
    assert.deepEqual(await listed({ labelSelector: { app: 'other' } }), []);
    assert.deepEqual(await listed({ state: { state: PodSandboxState.SANDBOX_NOTREADY } }), []);
    const streamed = await Array.fromAsync(lab.runtime.streamPodSandboxes({}));
    assert.deepEqual(
      streamed.flatMap(({ podSandboxes }) => podSandboxes.map(({ id }) => id)),
      [podSandboxId],
    );

    await lab.runtime.stopPodSandbox({ podSandboxId });
    await lab.runtime.stopPodSandbox({ podSandboxId });
    assert.deepEqual(await listed({ state: { state: PodSandboxState.SANDBOX_NOTREADY } }), [podSandboxId]);
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.runtime.stopPodSandbox({ podSandboxId });
    await assert.rejects(lab.runtime.podSandboxStatus({ podSandboxId }), (error) =>
      hasCode(error, 'NotFound'),
    );
    await lab.assertNothingLeft();
  });

  void it('a name belongs to one pod until that is removed', async () => {
    const podSandboxId = await lab.runPod('taken');
    await assert.rejects(
      lab.runPod('taken'),
      new RegExp(`failed to reserve sandbox name .* is reserved for "${podSandboxId}"`),
    );
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.runtime.removePodSandbox({ podSandboxId: await lab.runPod('taken') });
  });

  void it('requests that nobody could mean leave nothing', async () => {
    const refused = async (asked: Promise<unknown>, code: Parameters<typeof hasCode>[1]) =>
      assert.rejects(asked, (error) => hasCode(error, code));
    await refused(lab.runtime.runPodSandbox({}), 'InvalidArgument');
    await refused(lab.runPod('handler', {}, 'absent'), 'NotFound');
    await refused(
      lab.runPod('dns', { dnsConfig: { servers: ['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4'] } }),
      'InvalidArgument',
    );
    await refused(lab.runtime.createContainer({ podSandboxId: 'no', config: {} }), 'InvalidArgument');
    await refused(lab.runtime.startContainer({ containerId: 'no' }), 'NotFound');
    await refused(lab.runtime.containerStatus({ containerId: 'no' }), 'NotFound');
    await refused(lab.runtime.execSync({ containerId: 'no', cmd: ['true'] }), 'NotFound');
    await lab.runtime.stopContainer({ containerId: 'no' });
    await lab.runtime.removeContainer({ containerId: 'no' });
    await lab.assertNothingLeft();
  });

  void it('a container is created, started, asked, stopped and removed', async () => {
    const podSandboxId = await lab.runPod('one');
    const containerId = await lab.create(podSandboxId, 'main', [
      'sh',
      '-c',
      'trap "exit 3" TERM; sleep 600 & wait',
    ]);
    const status = async () => (await lab.runtime.containerStatus({ containerId })).status ?? assert.fail();
    assert.equal((await status()).state, ContainerState.CONTAINER_CREATED);
    await assert.rejects(lab.runtime.execSync({ containerId, cmd: ['true'] }), (error) =>
      hasCode(error, 'FailedPrecondition'),
    );
    await lab.runtime.startContainer({ containerId });
    const running = await status();
    assert.equal(running.state, ContainerState.CONTAINER_RUNNING);
    assert.equal(running.imageId, lab.imageId);
    assert.ok(running.startedAt >= running.createdAt);
    await assert.rejects(
      lab.runtime.startContainer({ containerId }),
      /container is in CONTAINER_RUNNING state/,
    );

    const said = await lab.runtime.execSync({
      containerId,
      cmd: ['sh', '-c', 'cat /etc/hostname /etc/resolv.conf; echo no >&2; exit 4'],
    });
    assert.equal(Buffer.from(said.stdout).toString(), 'host-one\nnameserver 10.9.8.7\n');
    assert.equal(Buffer.from(said.stderr).toString(), 'no\n');
    assert.equal(said.exitCode, 4);

    const { containers } = await lab.runtime.listContainers({ filter: { podSandboxId } });
    assert.deepEqual(
      containers.map(({ id, state }) => [id, state]),
      [[containerId, ContainerState.CONTAINER_RUNNING]],
    );
    const streamed = await Array.fromAsync(lab.runtime.streamContainers({ filter: { podSandboxId } }));
    assert.equal(streamed[0]?.containers[0]?.id, containerId);

    await lab.runtime.stopContainer({ containerId, timeout: 20n });
    const ended = await status();
    assert.deepEqual(
      [ended.state, ended.exitCode, ended.reason],
      [ContainerState.CONTAINER_EXITED, 3, 'Error'],
    );
    await lab.runtime.stopContainer({ containerId });
    await lab.runtime.removeContainer({ containerId });
    await lab.runtime.removeContainer({ containerId });
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.assertNothingLeft();
  });

  void it('how a container ended is told: Completed, Error, StartError, and by SIGKILL', async () => {
    const podSandboxId = await lab.runPod('ends');
    const end = async (name: string, command: string[]) => {
      const containerId = await lab.create(podSandboxId, name, command);
      await lab.runtime.startContainer({ containerId }).catch(() => {});
      const status = async () => (await lab.runtime.containerStatus({ containerId })).status;
      if (name === 'deaf') await lab.runtime.stopContainer({ containerId, timeout: 1n });
      await until('it has ended', async () => (await status())?.state === ContainerState.CONTAINER_EXITED);
      const { exitCode, reason } = (await status()) ?? assert.fail();
      return [exitCode, reason];
    };
    assert.deepEqual(await end('good', ['true']), [0, 'Completed']);
    assert.deepEqual(await end('bad', ['sh', '-c', 'exit 9']), [9, 'Error']);
    assert.deepEqual(await end('absent', ['/no/such/program']), [128, 'StartError']);
    assert.deepEqual(await end('deaf', ['sh', '-c', 'trap "" TERM; while :; do sleep 600 & wait; done']), [
      137,
      'Error',
    ]);
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.assertNothingLeft();
  });

  void it('a command that takes too long is killed, and leaves nothing', async () => {
    const podSandboxId = await lab.runPod('slow');
    const containerId = await lab.create(podSandboxId, 'main', ['sleep', '600']);
    await lab.runtime.startContainer({ containerId });
    await assert.rejects(lab.runtime.execSync({ containerId, cmd: ['sleep', '601'], timeout: 1n }), (error) =>
      hasCode(error, 'DeadlineExceeded'),
    );
    const { stdout } = await lab.runtime.execSync({ containerId, cmd: ['ps'] });
    assert.doesNotMatch(Buffer.from(stdout).toString(), /sleep 601/);
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.assertNothingLeft();
  });

  void it('what a container writes is in its log', async () => {
    const logs = await mkdtemp(join(tmpdir(), 'gantry-cri-logs-'));
    try {
      const podSandboxId = await lab.runPod('logs', { logDirectory: logs });
      const containerId = await lab.create(podSandboxId, 'main', ['sh', '-c', 'echo out; echo err >&2'], {
        logPath: 'main.log',
      });
      await lab.runtime.startContainer({ containerId });
      const file = join(logs, 'main.log');
      await until(
        'the log is complete',
        () => existsSync(file) && readFileSync(file, 'utf8').split('\n').length === 3,
      );
      const text = readFileSync(file, 'utf8');
      assert.match(text, /^\S+Z stdout F out$/m);
      assert.match(text, /^\S+Z stderr F err$/m);
      const { status } = await lab.runtime.containerStatus({ containerId });
      assert.equal(status?.logPath, file);
      await lab.runtime.removePodSandbox({ podSandboxId });
    } finally {
      await rm(logs, { recursive: true, force: true });
    }
  });

  void it('events tell each step of a life', async () => {
    const stop = new AbortController();
    const heard: string[] = [];
    const podOf = new Map<string, string>();
    const listening = (async () => {
      for await (const { containerId, containerEventType } of lab.runtime.getContainerEvents(
        {},
        { signal: stop.signal },
      ))
        heard.push(`${podOf.get(containerId) ?? containerId} ${ContainerEventType[containerEventType]}`);
    })().catch(() => {});
    // What was kept for the first subscriber comes at once.
    await until('the subscription stands', () => heard.length > 0);
    const podSandboxId = await lab.runPod('heard');
    const containerId = await lab.create(podSandboxId, 'main', ['true']);
    await lab.runtime.startContainer({ containerId });
    const of = (id: string) => heard.filter((line) => line.startsWith(id)).map((line) => line.split(' ')[1]);
    await until('its end is told', () => of(containerId).includes('CONTAINER_STOPPED_EVENT'));
    await lab.runtime.removePodSandbox({ podSandboxId });
    await until('the removal is told', () => of(podSandboxId).includes('CONTAINER_DELETED_EVENT'));
    const life = ['CREATED', 'STARTED', 'STOPPED', 'DELETED'].map((word) => `CONTAINER_${word}_EVENT`);
    assert.deepEqual(new Set(of(containerId)), new Set(life));
    assert.deepEqual(of(podSandboxId), life);
    stop.abort();
    await listening;
  });

  void it('the range of the node makes a network of the template', async () => {
    const ready = async (): Promise<boolean> => {
      const { status } = await lab.runtime.status({});
      return status?.conditions.find(({ type }) => type === 'NetworkReady')?.status === true;
    };
    assert.equal(await ready(), false);
    await lab.runtime.updateRuntimeConfig({});
    assert.equal(await ready(), false);
    await lab.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: '10.251.8.0/24' } } });
    assert.equal(await ready(), true);
    const { info } = await lab.runtime.status({ verbose: true });
    assert.match(info['cniconfig'] ?? '', /10\.251\.8\.0\/24/);
  });
});
