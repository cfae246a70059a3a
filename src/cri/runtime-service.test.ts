import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { background } from '../base/context.ts';
import { deferred } from '../base/deferred.ts';
import { hasCode, unknown } from '../base/errors.ts';
import { silentLogger } from '../base/logger.ts';
import type { JsonObject } from '../oci/json.ts';
import { CgroupDriver } from '../wire/gen/runtime/v1/status_pb.js';
import { loadCniNetworks } from './cni-config.ts';
import { runtimeConfig } from './runtime-config.ts';
import { RuntimeFeatures, type RuntimeFeaturesDependencies } from './runtime-features.ts';
import { runtimeStatus } from './runtime-status.ts';
import { runtimeVersion } from './runtime-version.ts';
import type { RuntimeHandler, RuntimeSettings } from './settings.ts';

const ctx = background(silentLogger);

const handler = (name: string, more: Partial<RuntimeHandler> = {}): RuntimeHandler => ({
  name,
  type: 'io.containerd.runc.v2',
  path: '',
  options: undefined,
  systemdCgroup: false,
  snapshotter: '',
  sandboxer: 'podsandbox',
  cniConfDir: '',
  cniMaxConfNum: 0,
  spec: {
    podAnnotations: [],
    containerAnnotations: [],
    privilegedWithoutHostDevices: false,
    privilegedWithoutHostDevicesAllDevicesAllowed: false,
    cgroupWritable: false,
  },
  ...more,
});

const settingsOf = (
  handlers: readonly RuntimeHandler[],
  { confDir = '/absent', defaultHandler = handlers[0]?.name ?? '' } = {},
): RuntimeSettings => ({
  defaultHandler,
  handlers: new Map(handlers.map((each) => [each.name, each])),
  cni: { confDir, binDirs: ['/opt/cni/bin'], maxConfNum: 1 },
  ignoredDeprecations: ['ignored'],
});

const able = { mountOptions: ['ro', 'rro'], linux: { mountExtensions: { idmap: { enabled: true } } } };
const featuresOf = (ask: RuntimeFeaturesDependencies['ask'], kernelRelease = '6.18.5', retryMs = 0) =>
  new RuntimeFeatures({ ask, kernelRelease }, { retryMs });

const bridge = {
  cniVersion: '1.0.0',
  name: 'net',
  plugins: [{ type: 'bridge', ipam: { type: 'host-local' } }],
};

describe('the status of the runtime', () => {
  let confDir: string;
  beforeEach(() => {
    confDir = mkdtempSync(join(tmpdir(), 'gantry-cni-'));
  });
  afterEach(() => rmSync(confDir, { recursive: true, force: true }));
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(confDir, name), typeof value === 'string' ? value : JSON.stringify(value));

  const statusOf = (
    settings: RuntimeSettings,
    { verbose = false, deprecations = [] as { id: string; message: string }[] } = {},
  ) =>
    runtimeStatus(
      { features: featuresOf(async () => able), deprecations: () => deprecations, places: { rootDir: '/r' } },
      settings,
      ctx,
      { verbose },
    );
  const conditionsOf = async (...from: Parameters<typeof statusOf>) => {
    const { status } = await statusOf(...from);
    return new Map((status?.conditions ?? []).map((each) => [each.type, each]));
  };

  it('the network is ready as soon as there is a configuration', async () => {
    const settings = settingsOf([handler('runc')], { confDir });
    const before = await conditionsOf(settings);
    assert.equal(before.get('RuntimeReady')?.status, true);
    assert.equal(before.get('NetworkReady')?.status, false);
    assert.equal(before.get('NetworkReady')?.reason, 'NetworkPluginNotReady');
    write('10-net.conflist', bridge);
    assert.equal((await conditionsOf(settings)).get('NetworkReady')?.status, true);
    write('05-net.conflist', 'no JSON');
    assert.equal((await conditionsOf(settings)).get('NetworkReady')?.status, false);
  });

  it('warnings of deprecation are a condition, but for those that are ignored', async () => {
    const settings = settingsOf([handler('runc')]);
    const type = 'ContainerdHasNoDeprecationWarnings';
    const ignored = { id: 'ignored', message: 'old' };
    assert.equal((await conditionsOf(settings, { deprecations: [ignored] })).get(type)?.status, true);
    const told = (await conditionsOf(settings, { deprecations: [ignored, { id: 'a', message: 'b' }] })).get(
      type,
    );
    assert.equal(told?.status, false);
    assert.deepEqual(JSON.parse(told?.message ?? ''), { a: 'b' });
  });

  it('every handler is told, the default one also without a name', async () => {
    const { runtimeHandlers } = await statusOf(
      settingsOf([handler('runc'), handler('kata')], { defaultHandler: 'kata' }),
    );
    assert.deepEqual(
      runtimeHandlers?.map(({ name }) => name),
      ['', 'kata', 'runc'],
    );
  });

  it('verbose tells settings and networks, also those of a handler', async () => {
    write('10-net.conflist', bridge);
    const own = handler('kata', { cniConfDir: '/absent' });
    const settings = settingsOf([handler('runc'), own], { confDir });
    assert.equal((await statusOf(settings)).info, undefined);
    const { info } = await statusOf(settings, { verbose: true });
    assert.equal(info?.['lastCNILoadStatus'], 'OK');
    assert.match(info?.['lastCNILoadStatus.kata'] ?? '', /^cni config load failed: .*\/absent/);
    const config = JSON.parse(info?.['config'] ?? '') as {
      containerd: { runtimes: object };
      rootDir: string;
    };
    assert.deepEqual(Object.keys(config.containerd.runtimes), ['runc', 'kata']);
    assert.equal(config.rootDir, '/r');
    const cni = JSON.parse(info?.['cniconfig'] ?? '') as { Networks: { IFName: string }[] };
    assert.deepEqual(
      cni.Networks.map(({ IFName }) => IFName),
      ['eth0'],
    );
  });

  it('networks are read as libcni reads them', async () => {
    write('20-one.conf', { cniVersion: '0.4.0', name: 'single', type: 'loopback' });
    write('10-net.conflist', bridge);
    write('00-notes.txt', 'not a configuration');
    const all = await loadCniNetworks(confDir, 0);
    assert.deepEqual(
      all.map(({ name, cniVersion, plugins }) => [name, cniVersion, plugins.map(({ type }) => type)]),
      [
        ['net', '1.0.0', ['bridge']],
        ['single', '0.4.0', ['loopback']],
      ],
    );
    assert.equal((await loadCniNetworks(confDir, 1)).length, 1);
  });

  const bad: readonly (readonly [string, unknown, RegExp])[] = [
    ['a.conflist', { plugins: [{ type: 'x' }] }, /it has no name/],
    ['a.conflist', { name: 'n', plugins: [] }, /it has no plugins/],
    ['a.conflist', { name: 'n', plugins: [{}] }, /plugins\[0\] has no type/],
    ['a.conflist', { name: 'n', plugins: 'x' }, /plugins must be an array/],
    ['a.conf', { name: 'n' }, /plugins\[0\] has no type/],
    ['a.conf', bridge, /must end in \.conflist/],
    ['a.json', '[', /not valid JSON/],
    ['a.conf', ' '.repeat(1024 * 1024 + 1), /more than the/],
  ];
  for (const [name, value, reason] of bad)
    it(`a file that is no good: ${String(reason)}`, async () => {
      write(name, value);
      await assert.rejects(
        loadCniNetworks(confDir, 0),
        (error) => hasCode(error, 'FailedPrecondition') && reason.test(String(error)),
      );
    });
});

describe('what runtimes can do', () => {
  it('is asked once, and again after a failure', async () => {
    let asked = 0;
    const features = featuresOf(async () => {
      asked += 1;
      if (asked === 1) throw unknown('the shim does not start');
      return able;
    });
    const none = { recursiveReadOnlyMounts: false, userNamespaces: false };
    const all = { recursiveReadOnlyMounts: true, userNamespaces: true };
    assert.deepEqual(await features.of(ctx, handler('runc')), none);
    assert.deepEqual(await features.of(ctx, handler('runc')), all);
    assert.deepEqual(await features.of(ctx, handler('runc')), all);
    assert.equal(asked, 2);
  });

  it('is not asked at once after a failure, nor twice at the same time, and not given up with its caller', async () => {
    let asked = 0;
    const answer = deferred<JsonObject>();
    const features = featuresOf(
      (within) => {
        asked += 1;
        assert.equal(within.signal.aborted, false);
        return answer.promise;
      },
      '6.18.5',
      60_000,
    );
    const gone = { ...ctx, signal: AbortSignal.abort() };
    const both = [features.of(gone, handler('runc')), features.of(ctx, handler('runc'))];
    answer.reject(unknown('the shim does not start'));
    const none = { recursiveReadOnlyMounts: false, userNamespaces: false };
    assert.deepEqual(await Promise.all(both), [none, none]);
    assert.deepEqual(await features.of(ctx, handler('runc')), none);
    assert.equal(asked, 1);
  });

  it('takes both a runtime and a kernel for recursive read-only mounts', async () => {
    for (const [release, expected] of [
      ['5.11.0', false],
      ['5.12.0-generic', true],
      ['6.1.0', true],
      ['4.19.0', false],
      ['nonsense', false],
    ] as const) {
      const { recursiveReadOnlyMounts } = await featuresOf(async () => able, release).of(
        ctx,
        handler('runc'),
      );
      assert.equal(recursiveReadOnlyMounts, expected, release);
    }
    const without = await featuresOf(async () => ({ mountOptions: ['ro'] })).of(ctx, handler('runc'));
    assert.equal(without.recursiveReadOnlyMounts, false);
    const silent = await featuresOf(async () => undefined).of(ctx, handler('runc'));
    assert.deepEqual(silent, { recursiveReadOnlyMounts: false, userNamespaces: false });
  });
});

describe('the cgroup driver', () => {
  const driverOf = (settings: RuntimeSettings, systemd: boolean) =>
    runtimeConfig(settings, { runsSystemd: () => systemd }).linux?.cgroupDriver;
  const other = handler('kata', { type: 'io.containerd.kata.v2', systemdCgroup: undefined });
  const systemd = handler('systemd', { systemdCgroup: true });

  it('is what the default handler says', () => {
    assert.equal(driverOf(settingsOf([handler('runc'), systemd]), true), CgroupDriver.CGROUPFS);
    assert.equal(driverOf(settingsOf([systemd, handler('runc')]), false), CgroupDriver.SYSTEMD);
  });

  it('is what another handler of runc says when the default one is no runc', () => {
    assert.equal(driverOf(settingsOf([other, systemd]), false), CgroupDriver.SYSTEMD);
  });

  it('is that of the machine when no handler says anything', () => {
    assert.equal(driverOf(settingsOf([other]), true), CgroupDriver.SYSTEMD);
    assert.equal(driverOf(settingsOf([other]), false), CgroupDriver.CGROUPFS);
  });
});

it('the version that the kubelet and people are told', () => {
  assert.deepEqual(runtimeVersion('1.2.3'), {
    version: '0.1.0',
    runtimeName: 'containerd',
    runtimeVersion: '1.2.3',
    runtimeApiVersion: 'v1',
  });
});
