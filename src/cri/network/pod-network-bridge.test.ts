/**
 * The plugins of Debian, in network namespaces made here: one plays the host, so nothing of this machine's network is
 * touched. Needs root, and `containernetworking-plugins`, `iproute2`, `iptables` and `busybox`, which `npm test` installs.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseSandboxId } from '../../base/identifiers.ts';
import { selectPlatform } from '../../platform/select.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import { until } from '../../testing/until.ts';
import { NetworkWorld, type NetworkWorldOptions, real } from './pod-network.fixture.ts';

const skip = needsLinux('it makes network namespaces');
const platform = await selectPlatform();
const host = parseSandboxId('host');
const child = fileURLToPath(new URL('setup-child.fixture.ts', import.meta.url));

describe('pods and the plugins of Debian', { skip }, () => {
  let world: NetworkWorld;

  const open = (options: NetworkWorldOptions = {}): void => {
    world = new NetworkWorld(platform, options);
    world.pod('host');
    world.pods.make(host);
    platform.namespaces.raiseLoopback(world.pods.networkPath(host));
    for (const type of ['bridge', 'host-local', 'portmap', 'loopback', 'firewall'])
      world.script(type, `exec nsenter --net=${world.pods.networkPath(host)} ${join(real, type)}`);
  };

  const on = (name: string, ...command: readonly string[]): string => {
    const path = world.pods.networkPath(parseSandboxId(name));
    const run = spawnSync('nsenter', [`--net=${path}`, ...command], { encoding: 'utf8' });
    assert.equal(run.status, 0, `${command.join(' ')}: ${run.stdout}${run.stderr}`);
    return run.stdout;
  };

  const bridge = (subnet: string, ...more: readonly string[]): object => ({
    type: 'bridge',
    bridge: 'gtest0',
    isGateway: true,
    ipMasq: false,
    ipam: {
      type: 'host-local',
      dataDir: world.at('ipam'),
      ranges: [subnet, ...more].map((one) => [{ subnet: one }]),
    },
  });

  const list = (...plugins: readonly object[]): object => ({ cniVersion: '1.0.0', name: 'pods', plugins });
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  const firewall = { type: 'firewall', backend: 'iptables' };

  /** Addresses that host-local has given out. */
  const leased = (): string[] =>
    existsSync(world.at('ipam', 'pods'))
      ? readdirSync(world.at('ipam', 'pods')).filter((name) => /^[\d.]+$|:/.test(name))
      : [];

  const connect = async (name: string, more = {}): Promise<string> => {
    const pod = world.pod(name, more);
    world.pods.make(pod.id);
    return (await world.network.setUp(world.ctx, pod)).ip;
  };

  beforeEach(() => open());
  afterEach(() => world[Symbol.dispose]());

  test('two pods reach each other, and their addresses come back', async () => {
    world.configure('10-pods.conflist', list(bridge('10.88.0.0/24'), firewall));
    const [one, two] = [await connect('one'), await connect('two')];
    assert.notEqual(one, two);
    assert.match(on('one', 'ip', '-4', 'addr', 'show', 'eth0'), new RegExp(`inet ${one}/24`));
    on('one', 'busybox', 'ping', '-c', '1', '-W', '5', two);
    on('one', 'busybox', 'ping', '-c', '1', '-W', '5', '127.0.0.1');
    assert.deepEqual(leased().toSorted(), [one, two].toSorted());

    await world.network.tearDown(world.ctx, parseSandboxId('one'));
    assert.deepEqual(leased(), [two]);
    await world.network.tearDown(world.ctx, parseSandboxId('one'));
    // Its namespace is gone already, as after a reboot.
    world.pods.remove(parseSandboxId('two'));
    await world.network.tearDown(world.ctx, parseSandboxId('two'));
    assert.deepEqual(leased(), []);
    assert.deepEqual(world.attachments.all(), { attachments: [], damaged: [] });
    assert.doesNotMatch(on('host', 'iptables-save'), new RegExp(`${one}|${two}`));
  });

  test('the loopback plugin, one network after the other, both families', async () => {
    world[Symbol.dispose]();
    open({ internalLoopback: false, setupSerially: true, ipPreference: 'ipv6' });
    world.configure('10-pods.conflist', list(bridge('10.88.0.0/24', 'fd00:88::/64')));
    world.configure('20-more.conflist', {
      ...list({ ...bridge('10.99.0.0/24'), bridge: 'gtest1' }),
      name: 'more',
    });
    const pod = world.pod('both');
    world.pods.make(pod.id);
    const { ip, additionalIps, results } = await world.network.setUp(world.ctx, pod);
    assert.match(ip, /^fd00:88::/);
    assert.equal(additionalIps.length, 1);
    assert.deepEqual(
      results.map(({ ifName, network }) => `${ifName} ${network}`),
      ['eth0 pods', 'eth1 more'],
    );
    assert.match(on('both', 'ip', 'link', 'show', 'lo'), /[<,]UP[,>]/);
    assert.match(on('both', 'ip', 'addr', 'show', 'eth1'), /10\.99\.0\./);
    await world.network.tearDown(world.ctx, pod.id);
    assert.deepEqual(leased(), []);
  });

  test('a port of the host leads into the pod, and no longer once it is down', async () => {
    world.configure('10-pods.conflist', list(bridge('10.88.0.0/24'), portmap));
    const portMappings = [{ protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' }];
    await connect('web', { portMappings });
    const server = spawn(
      'nsenter',
      [
        `--net=${world.pods.networkPath(parseSandboxId('web'))}`,
        'busybox',
        'nc',
        '-l',
        '-p',
        '80',
        '-e',
        'echo',
        'hello',
      ],
      { stdio: 'ignore' },
    );
    const ended = once(server, 'exit');
    try {
      await until('the server listens', () => on('web', 'ss', '-Htln').includes(':80'));
      assert.equal(on('host', 'busybox', 'nc', '-w', '5', '10.88.0.1', '8080').trim(), 'hello');
    } finally {
      server.kill();
      await ended;
    }
    assert.match(on('host', 'iptables-save', '-t', 'nat'), /--dport 8080/);
    await world.network.tearDown(world.ctx, parseSandboxId('web'));
    assert.doesNotMatch(on('host', 'iptables-save', '-t', 'nat'), /--dport 8080/);
  });

  test('a check tells what somebody took away', async () => {
    world.configure('10-pods.conflist', list(bridge('10.88.0.0/24'), portmap));
    await connect('pod');
    await world.network.check(world.ctx, parseSandboxId('pod'));
    on('pod', 'ip', 'addr', 'flush', 'dev', 'eth0');
    await assert.rejects(
      world.network.check(world.ctx, parseSandboxId('pod')),
      /plugin type="bridge" failed \(check\)/,
    );
    await world.network.tearDown(world.ctx, parseSandboxId('pod'));
  });

  test('a pod with a user namespace', async () => {
    world.configure('10-pods.conflist', list(bridge('10.88.0.0/24')));
    const pod = world.pod('mapped');
    const ranges = [{ containerId: 0, hostId: 400_000, size: 65_536 }];
    world.pods.make(pod.id, { user: { uids: ranges, gids: ranges } });
    const { ip } = await world.network.setUp(world.ctx, pod);
    on('host', 'busybox', 'ping', '-c', '1', '-W', '5', ip);
    await world.network.tearDown(world.ctx, pod.id);
    world.pods.remove(pod.id);
    assert.equal(existsSync(world.pods.userPath(pod.id)), false);
  });

  for (const place of [0, 1, 2])
    test(`killed before plugin ${place} of the chain: what is left is collected`, async () => {
      const plugins = [bridge('10.88.0.0/24'), firewall].toSpliced(place, 0, { type: 'killer' });
      world.script('killer', '[ "$CNI_COMMAND" = ADD ] && kill -9 $PPID', 'exit 0');
      world.configure('10-pods.conflist', list(...plugins));
      const lost = world.pod('lost');
      const run = spawnSync(process.execPath, [child, world.folder, 'lost'], { encoding: 'utf8' });
      assert.equal(run.signal, 'SIGKILL', run.stderr);
      const ip = leased();
      assert.equal(ip.length, place === 0 ? 0 : 1);

      const { released, failures } = await world.network.collect(world.ctx, (pod) => pod === 'other');
      assert.deepEqual(failures, []);
      assert.deepEqual(released, [{ podId: 'lost', ifName: 'eth0' }]);
      assert.deepEqual(leased(), []);
      assert.equal(world.pods.isOpen(lost.id), false);
      assert.deepEqual(world.attachments.all().attachments, []);
      if (place > 0) assert.equal(on('host', 'iptables-save').includes(ip[0] ?? 'none'), false);
    });
});
