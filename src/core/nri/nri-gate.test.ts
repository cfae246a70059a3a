/** Plugins in TypeScript at the other end of real sockets: some connect, some are started as programs. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { background } from '../../base/context.ts';
import { invalidArgument } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import { selectPlatform } from '../../platform/select.ts';
import { type TestPlugin, testPlugin } from '../../testing/nri-plugin.ts';
import { until } from '../../testing/until.ts';
import { type ContainerUpdate, Event } from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { NriGate, type NriGateOptions } from './nri-gate.ts';
import type { NriDomain, NriRuntime } from './nri-runtime.ts';

const platform = await selectPlatform();
const ctx = background(silentLogger);
const pod = { id: 'p1', name: 'pod' };
const container = { id: 'c1', podSandboxId: 'p1', name: 'web', env: ['A=1'] };
type Handlers = Parameters<typeof testPlugin>[1];

class Lab {
  readonly dir = mkdtempSync(join(tmpdir(), 'gantry-nri-'));
  readonly updated: ContainerUpdate[] = [];
  readonly evicted: string[] = [];
  pods = [pod];
  containers = [container];
  readonly gate: NriGate;
  readonly #t: TestContext;

  constructor(t: TestContext, options: Partial<NriGateOptions> = {}) {
    this.#t = t;
    const off = { enable: false, requiredPlugins: [], tolerateMissingAnnotation: '' };
    this.gate = new NriGate(
      { platform, log: silentLogger },
      {
        disableConnections: false,
        socketPath: join(this.dir, 'nri.sock'),
        pluginPath: join(this.dir, 'plugins'),
        pluginConfigPath: join(this.dir, 'conf.d'),
        runtimeName: 'containerd',
        runtimeVersion: '1',
        registrationTimeoutMs: 5000,
        requestTimeoutMs: 2000,
        validator: {
          ...off,
          rejectOciHookAdjustment: false,
          rejectRuntimeDefaultSeccompAdjustment: false,
          rejectUnconfinedSeccompAdjustment: false,
          rejectCustomSeccompAdjustment: false,
          rejectNamespaceAdjustment: false,
          rejectSysctlAdjustment: false,
        },
        ...options,
      },
    );
    t.after(async () => {
      await this.gate[Symbol.asyncDispose]();
      rmSync(this.dir, { recursive: true });
    });
  }

  async start(): Promise<void> {
    const domain: NriDomain = {
      state: async () => ({ pods: this.pods, containers: this.containers }),
      update: async (updates) => {
        this.updated.push(...updates);
        return updates.filter(({ containerId }) => containerId === 'absent');
      },
      evict: async (evictions) => {
        this.evicted.push(...evictions.map(({ containerId }) => containerId));
      },
    };
    await this.gate.start(domain);
  }

  get runtime(): NriRuntime {
    assert.ok(this.gate.runtime !== undefined);
    return this.gate.runtime;
  }

  get plugins(): readonly string[] {
    return this.gate.runtime?.plugins ?? [];
  }

  /** Until the runtime asks it. */
  async plugin(index: string, name: string, handlers: Handlers = {}): Promise<TestPlugin> {
    const plugin = testPlugin(join(this.dir, 'nri.sock'), {
      configure: async () => ({}),
      synchronize: async () => ({}),
      ...handlers,
    });
    this.#t.after(() => plugin[Symbol.asyncDispose]());
    await plugin.register(index, name);
    await until(`${name} is there`, () => this.plugins.includes(`${index}-${name}`));
    return plugin;
  }
}

test('without plugins nothing that speaks with them is there', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  assert.equal(lab.gate.runtime, undefined);
});

test('a plugin is configured, told what there is, and asked in the order of indices', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  const asked: string[] = [];
  const seen: string[][] = [];
  for (const index of ['20', '10'])
    await lab.plugin(index, 'p', {
      configure: async (_ctx, { runtimeName, requestTimeout, NRIVersion }) => {
        assert.deepEqual([runtimeName, requestTimeout, NRIVersion], ['containerd', 2000n, '0.12.0']);
        return {};
      },
      synchronize: async (_ctx, { pods, containers, more }) => {
        assert.deepEqual([pods.length, containers.length, more], [1, 1, false]);
        return { update: [{ containerId: `by-${index}` }] };
      },
      createContainer: async (_ctx, request) => {
        asked.push(index);
        seen.push(request.container?.env ?? []);
        return {
          adjust: { env: [{ key: `K${index}`, value: 'v' }] },
          update: [{ containerId: `other-${index}` }],
          evict: [{ containerId: 'evicted' }],
        };
      },
    });
  assert.deepEqual(lab.plugins, ['10-p', '20-p']);
  const { adjustment, updates, evictions } = await lab.runtime.createContainer(ctx, pod, container);
  assert.deepEqual(asked, ['10', '20']);
  assert.deepEqual(seen, [['A=1'], ['A=1', 'K10=v']]);
  assert.deepEqual(
    adjustment.env.map(({ key }) => key),
    ['K10', 'K20'],
  );
  assert.deepEqual(
    updates.map(({ containerId }) => containerId),
    ['other-10', 'other-20'],
  );
  assert.deepEqual(
    evictions.map(({ containerId }) => containerId),
    ['evicted'],
  );
  assert.deepEqual(
    lab.updated.map(({ containerId }) => containerId),
    ['by-20', 'by-10'],
  );
});

test('every moment has its call, and older plugins hear by StateChange', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  const calls: string[] = [];
  const note = (name: string) => async () => {
    calls.push(name);
    return {};
  };
  await lab.plugin('10', 'new', {
    runPodSandbox: note('runPodSandbox'),
    updatePodSandbox: note('updatePodSandbox'),
    postUpdatePodSandbox: note('postUpdatePodSandbox'),
    stopPodSandbox: note('stopPodSandbox'),
    removePodSandbox: note('removePodSandbox'),
    createContainer: note('createContainer'),
    postCreateContainer: note('postCreateContainer'),
    startContainer: note('startContainer'),
    postStartContainer: note('postStartContainer'),
    updateContainer: note('updateContainer'),
    postUpdateContainer: note('postUpdateContainer'),
    stopContainer: note('stopContainer'),
    removeContainer: note('removeContainer'),
  });
  await lab.plugin('20', 'old', {
    createContainer: note('old createContainer'),
    updateContainer: note('old updateContainer'),
    updatePodSandbox: note('old updatePodSandbox'),
    stopContainer: note('old stopContainer'),
    stateChange: async (_ctx, { event, pod: its }) => {
      calls.push(`${Event[event]} ${its?.id}`);
      return {};
    },
  });
  const { runtime } = lab;
  await runtime.runPodSandbox(ctx, pod);
  await runtime.updatePodSandbox(ctx, pod, { overhead: {}, resources: {} });
  await runtime.postUpdatePodSandbox(ctx, pod);
  await runtime.createContainer(ctx, pod, container);
  await runtime.postCreateContainer(ctx, pod, container);
  await runtime.startContainer(ctx, pod, container);
  await runtime.postStartContainer(ctx, pod, container);
  await runtime.updateContainer(ctx, pod, container, {});
  await runtime.postUpdateContainer(ctx, pod, container);
  await runtime.stopContainer(ctx, pod, container);
  await runtime.removeContainer(ctx, pod, container);
  await runtime.stopPodSandbox(ctx, pod);
  await runtime.removePodSandbox(ctx, pod);
  assert.deepEqual(calls, [
    ...['runPodSandbox', 'RUN_POD_SANDBOX p1', 'updatePodSandbox', 'old updatePodSandbox'],
    ...['postUpdatePodSandbox', 'POST_UPDATE_POD_SANDBOX p1', 'createContainer', 'old createContainer'],
    ...['postCreateContainer', 'POST_CREATE_CONTAINER p1', 'startContainer', 'START_CONTAINER p1'],
    ...['postStartContainer', 'POST_START_CONTAINER p1', 'updateContainer', 'old updateContainer'],
    ...['postUpdateContainer', 'POST_UPDATE_CONTAINER p1', 'stopContainer', 'old stopContainer'],
    ...['removeContainer', 'REMOVE_CONTAINER p1', 'stopPodSandbox', 'STOP_POD_SANDBOX p1'],
    ...['removePodSandbox', 'REMOVE_POD_SANDBOX p1'],
  ]);
});

test('only the events that it asked for come to a plugin', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  let count = 0;
  await lab.plugin('10', 'p', {
    configure: async () => ({ events: 1 << (Event.STOP_CONTAINER - 1) }),
    stopContainer: async () => {
      count += 1;
      return {};
    },
    createContainer: async () => {
      throw invalidArgument('not wanted');
    },
  });
  await lab.runtime.createContainer(ctx, pod, container);
  await lab.runtime.stopContainer(ctx, pod, container);
  assert.equal(count, 1);
});

test('an update is what plugins make of it', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  await lab.plugin('10', 'p', {
    updateContainer: async (_ctx, { linuxResources }) => {
      assert.equal(linuxResources?.memory?.limit?.value, 1n);
      const resources = { memory: { limit: { value: 5n } } };
      return { update: [{ containerId: 'c1', linux: { resources } }, { containerId: 'c2' }] };
    },
  });
  const asked = { memory: { limit: { value: 1n } }, cpu: { cpus: '0' } };
  const { resources, updates } = await lab.runtime.updateContainer(ctx, pod, container, asked);
  assert.equal(resources.memory?.limit?.value, 5n);
  assert.equal(resources.cpu?.cpus, '0');
  assert.deepEqual(
    updates.map(({ containerId }) => containerId),
    ['c2'],
  );
});

test('what there is comes in parts when it is too much for one message', async (t) => {
  const lab = new Lab(t);
  lab.pods = Array.from({ length: 40 }, (_, at) => ({ id: `p${at}`, name: 'x'.repeat(200_000) }));
  await lab.start();
  const got: string[] = [];
  let parts = 0;
  await lab.plugin('10', 'p', {
    synchronize: async (_ctx, { pods, more }) => {
      parts += 1;
      got.push(...pods.map(({ id }) => id));
      return { more };
    },
  });
  assert.ok(parts > 1);
  assert.deepEqual(
    got,
    lab.pods.map(({ id }) => id),
  );
});

test('a plugin may ask for updates and evictions by itself', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  const plugin = await lab.plugin('10', 'p');
  const { failed } = await plugin.runtime.updateContainers({
    update: [{ containerId: 'c1' }, { containerId: 'absent' }],
    evict: [{ containerId: 'c2', reason: 'noisy' }],
  });
  assert.deepEqual(
    failed.map(({ containerId }) => containerId),
    ['absent'],
  );
  assert.deepEqual(lab.evicted, ['c2']);
});

test('a plugin that is slow or gone is closed, and the request goes on; its error fails the request', async (t) => {
  const lab = new Lab(t, { requestTimeoutMs: 200 });
  await lab.start();
  const slow = await lab.plugin('10', 'slow', { createContainer: () => new Promise(() => {}) });
  const gone: TestPlugin = await lab.plugin('20', 'gone', {
    createContainer: async () => {
      await gone[Symbol.asyncDispose]();
      return {};
    },
  });
  await lab.plugin('30', 'good', { createContainer: async () => ({ adjust: { args: ['x'] } }) });
  const { adjustment } = await lab.runtime.createContainer(ctx, pod, container);
  assert.deepEqual(adjustment.args, ['x']);
  await slow.closed;
  await until('the others are forgotten', () => lab.plugins.length === 1);
  await lab.plugin('40', 'bad', {
    createContainer: async () => {
      throw invalidArgument('no such thing');
    },
  });
  await assert.rejects(lab.runtime.createContainer(ctx, pod, container), /NRI plugin 40-bad: no such thing/);
  assert.deepEqual(lab.plugins, ['30-good', '40-bad']);
});

test('validators hear who set what, and may refuse', async (t) => {
  const lab = new Lab(t);
  await lab.start();
  await lab.plugin('10', 'setter', { createContainer: async () => ({ adjust: { args: ['x'] } }) });
  await lab.plugin('20', 'judge', {
    configure: async () => ({ events: 1 << (Event.VALIDATE_CONTAINER_ADJUSTMENT - 1) }),
    validateContainerAdjustment: async (_ctx, { owners, plugins }) => {
      assert.deepEqual(
        plugins.map(({ index, name }) => index + name),
        ['10setter', '20judge'],
      );
      return { reject: true, reason: `args are of ${owners?.owners['c1']?.simple[7]}` };
    },
  });
  await assert.rejects(lab.runtime.createContainer(ctx, pod, container), /args are of 10-setter/);
});

test('a connection that does not register, or badly, is closed', async (t) => {
  const lab = new Lab(t, { registrationTimeoutMs: 100 });
  await lab.start();
  const silent = connect({ path: join(lab.dir, 'nri.sock') });
  await new Promise((resolve) => silent.once('close', resolve));
  for (const [index, name] of [
    ['1', 'p'],
    ['10', '../p'],
  ] as const) {
    const plugin = testPlugin(join(lab.dir, 'nri.sock'), {});
    await assert.rejects(plugin.register(index, name));
    await plugin.closed;
  }
  assert.deepEqual(lab.plugins, []);
});

test('installed plugins are started in order, with their configuration, and end with the gate', async (t) => {
  const lab = new Lab(t);
  const record = join(lab.dir, 'record');
  const fixture = join(import.meta.dirname, '../../testing/nri-plugin.ts');
  const program = `#!${process.execPath}
import { appendFileSync } from 'node:fs';
const { testPlugin } = await import(${JSON.stringify(fixture)});
const { NRI_PLUGIN_NAME: name, NRI_PLUGIN_IDX: index, NRI_PLUGIN_SOCKET: fd, PATH } = process.env;
const plugin = testPlugin(Number(fd), {
  configure: async (_ctx, { config }) => {
    appendFileSync(${JSON.stringify(record)}, index + name + config + String(PATH) + '\\n');
    return {};
  },
  synchronize: async () => ({}),
  createContainer: async () => ({ adjust: { env: [{ key: 'P' + index, value: String(process.pid) }] } }),
});
await plugin.register('99', 'liar');
`;
  await mkdir(join(lab.dir, 'plugins'));
  await mkdir(join(lab.dir, 'conf.d'));
  for (const name of ['20-b', '10-a', 'nameless'])
    writeFileSync(join(lab.dir, 'plugins', name), program, { mode: 0o755 });
  writeFileSync(join(lab.dir, 'plugins', '30-broken'), `#!/bin/false\n`, { mode: 0o755 });
  writeFileSync(join(lab.dir, 'plugins', '40-notes'), 'text', { mode: 0o644 });
  writeFileSync(join(lab.dir, 'conf.d', 'a.conf'), ' by name ');
  writeFileSync(join(lab.dir, 'conf.d', '20-b.conf'), ' by index ');
  writeFileSync(join(lab.dir, 'conf.d', 'b.conf'), ' wrong ');
  await lab.start();
  assert.deepEqual(lab.plugins, ['10-a', '20-b']);
  assert.equal(readFileSync(record, 'utf8'), '10a by name undefined\n20b by index undefined\n');
  const { adjustment } = await lab.runtime.createContainer(ctx, pod, container);
  const pids = adjustment.env.map(({ value }) => Number(value));
  assert.ok(pids.every((pid) => platform.processes.isAlive(pid)));
  await lab.gate[Symbol.asyncDispose]();
  assert.ok(pids.every((pid) => !platform.processes.isAlive(pid)));
});
