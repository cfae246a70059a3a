/** Plugins that are shell scripts: what they are told, and what becomes of those that misbehave. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { withSignal } from '../../base/context.ts';
import { type ErrorCode, hasCode } from '../../base/errors.ts';
import { selectPlatform } from '../../platform/select.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import { until } from '../../testing/until.ts';
import { NetworkWorld, type NetworkWorldOptions } from './pod-network.fixture.ts';

const skip = needsLinux('it makes network namespaces');
const platform = await selectPlatform();
const setupChild = fileURLToPath(new URL('setup-child.fixture.ts', import.meta.url));

/** Of what a plugin was told. */
interface Call {
  readonly command: string;
  readonly type: string;
  readonly env: Readonly<Record<string, string>>;
  readonly input: Readonly<Record<string, unknown>>;
}

const interfaces = [{ name: 'veth0' }, { name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/x' }];
const answer = (...ips: readonly string[]): object => ({
  cniVersion: '1.1.0',
  interfaces,
  ips: ips.map((address) => ({ address, interface: 1 })),
});

describe('pods and plugins of all kinds', { skip }, () => {
  let world: NetworkWorld;

  const open = (options: NetworkWorldOptions = {}): void => {
    world = new NetworkWorld(platform, options);
  };

  /** Writes down what it is told, then does what `lines` say. */
  const plugin = (type: string, ...lines: readonly string[]): void =>
    world.script(
      type,
      `f="${world.at('log')}/$(printf %03d $(ls ${world.at('log')}/*.in 2>/dev/null | wc -l))-$CNI_COMMAND-${type}"`,
      'cat > "$f.in"',
      'env | grep ^CNI_ > "$f.env"',
      ...lines,
    );

  const printing = (type: string, result: object, ...lines: readonly string[]): void =>
    plugin(type, ...lines, `[ $CNI_COMMAND = ADD ] && echo '${JSON.stringify(result)}'`, 'exit 0');

  const failing = (type: string, command: string, code: number): void =>
    plugin(
      type,
      `if [ $CNI_COMMAND = ${command} ]; then`,
      `echo '{"cniVersion":"1.0.0","code":${code},"msg":"no luck","details":"none at all"}'; exit 1; fi`,
      `[ $CNI_COMMAND = ADD ] && echo '${JSON.stringify(answer('10.0.0.7/24'))}'`,
      'exit 0',
    );

  const calls = (): Call[] =>
    readdirSync(world.at('log'))
      .filter((name) => name.endsWith('.in'))
      .toSorted()
      .map((name) => {
        const [, command = '', type = ''] = /^\d+-([A-Z]+)-(.+)\.in$/.exec(name) ?? [];
        const env = readFileSync(world.at('log', name.replace(/in$/, 'env')), 'utf8')
          .trim()
          .split('\n');
        return {
          command,
          type,
          env: Object.fromEntries(env.map((line) => line.split(/=(.*)/s).slice(0, 2))) as Record<
            string,
            string
          >,
          input: JSON.parse(readFileSync(world.at('log', name), 'utf8')) as Record<string, unknown>,
        };
      });

  const told = (): string[] => calls().map(({ command, type }) => `${command} ${type}`);

  const configure = (cniVersion: string, ...plugins: readonly object[]): void =>
    world.configure('10-net.conflist', { cniVersion, name: 'net', plugins });

  const podOf = (name: string, more = {}): ReturnType<NetworkWorld['pod']> => {
    const pod = world.pod(name, more);
    world.pods.make(pod.id);
    return pod;
  };

  const fails = async (code: ErrorCode, message: RegExp): Promise<void> => {
    const pod = podOf('pod');
    await assert.rejects(world.network.setUp(world.ctx, pod), (error: Error) => {
      assert.match(error.message, message);
      return hasCode(error, code);
    });
  };

  beforeEach(() => open());
  afterEach(() => world[Symbol.dispose]());

  test('what a plugin is told, along the chain and back', async () => {
    printing('first', answer('10.0.0.7/24'));
    printing('second', answer('10.0.0.7/24', 'fd00::7/64'));
    configure(
      '1.0.0',
      { type: 'first', mine: 1, capabilities: { portMappings: true, bandwidth: true, dns: false } },
      { type: 'second', capabilities: { aliases: true, ipRanges: true, dns: true, cgroupPath: true } },
    );
    const pod = podOf('pod', {
      annotations: { 'kubernetes.io/ingress-bandwidth': '1M' },
      portMappings: [
        { protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
        { protocol: 'tcp', containerPort: 80, hostPort: 0, hostIp: '' },
      ],
      dns: { servers: ['10.0.0.2'], searches: ['a.b'], options: ['ndots:5'] },
      cgroupPath: '/kubepods/pod1',
      aliases: ['web'],
      ipRanges: [[{ subnet: '10.0.0.0/24' }]],
    });
    const result = await world.network.setUp(world.ctx, pod);
    assert.deepEqual([result.ip, result.additionalIps], ['10.0.0.7', ['fd00::7']]);

    const [first, second] = calls();
    assert.deepEqual(first?.env, {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'pod',
      CNI_NETNS: pod.netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: world.at('bin'),
      CNI_ARGS:
        'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=pod;K8S_POD_UID=uid-pod',
    });
    assert.deepEqual(first.input, {
      type: 'first',
      mine: 1,
      name: 'net',
      cniVersion: '1.0.0',
      capabilities: { portMappings: true, bandwidth: true, dns: false },
      runtimeConfig: {
        portMappings: [{ hostPort: 5353, containerPort: 53, protocol: 'udp', hostIP: '127.0.0.1' }],
        bandwidth: { ingressRate: 1_000_000, ingressBurst: 4_294_967_295 },
      },
    });
    assert.deepEqual(second?.input['runtimeConfig'], {
      dns: { servers: ['10.0.0.2'], searches: ['a.b'], options: ['ndots:5'] },
      cgroupPath: '/kubepods/pod1',
      aliases: ['web'],
      ipRanges: [[{ subnet: '10.0.0.0/24' }]],
    });
    // A plugin of 1.1 answered in a configuration of 1.0.
    assert.deepEqual(second.input['prevResult'], { ...answer('10.0.0.7/24'), cniVersion: '1.0.0' });

    // The configuration that counts is that of the setup, also for another process.
    configure('1.0.0', { type: 'absent' });
    const next = new NetworkWorld(platform, {}, world.folder);
    await next.network.check(world.ctx, pod.id);
    await next.network.tearDown(world.ctx, pod.id);
    next[Symbol.dispose]();
    assert.deepEqual(told(), [
      'ADD first',
      'ADD second',
      'CHECK first',
      'CHECK second',
      'DEL second',
      'DEL first',
    ]);
    const last = { ...answer('10.0.0.7/24', 'fd00::7/64'), cniVersion: '1.0.0' };
    for (const { input } of calls().slice(2)) assert.deepEqual(input['prevResult'], last);
    assert.deepEqual(readdirSync(world.at('attachments')), []);
  });

  test('a plugin that fails is told with its name and words, and what was done is taken back', async () => {
    printing('first', answer('10.0.0.7/24'));
    failing('second', 'ADD', 11);
    configure('0.4.0', { type: 'first' }, { type: 'second' });
    await fails('Unavailable', /^plugin type="second" failed \(add\): no luck; none at all$/);
    assert.deepEqual(told(), ['ADD first', 'ADD second', 'DEL second', 'DEL first']);
    assert.deepEqual(world.attachments.all().attachments, []);
  });

  test('what cannot be taken back stays known, and goes when it can', async () => {
    failing('first', 'DEL', 999);
    configure('1.0.0', { type: 'first' });
    const pod = podOf('pod');
    await world.network.setUp(world.ctx, pod);
    await assert.rejects(
      world.network.tearDown(world.ctx, pod.id),
      /disconnect eth0 of pod pod from network net: plugin type="first" failed \(del\): no luck/,
    );
    const { released, failures } = await world.network.collect(world.ctx, () => false);
    assert.deepEqual([released.length, failures.map(({ what }) => what)], [0, ['eth0 of pod pod']]);
    assert.equal(world.pods.isOpen(pod.id), true);
    printing('first', answer('10.0.0.7/24'));
    assert.equal((await world.network.collect(world.ctx, (id) => id === 'pod')).released.length, 0);
    assert.equal((await world.network.collect(world.ctx, () => false)).released.length, 1);
    assert.equal(world.pods.isOpen(pod.id), false);
  });

  const misbehaving: readonly [what: string, code: ErrorCode, message: RegExp, ...lines: string[]][] = [
    ['crashes', 'Unknown', /plugin type="bad" failed \(add\): killed by signal 11$/, 'kill -SEGV $$'],
    ['says why on the wrong stream', 'Unknown', /exit status 3: it hurts$/, 'echo it hurts >&2; exit 3'],
    ['prints garbage', 'Unknown', /failed \(add\): its answer is not valid JSON/, 'echo "<html>"'],
    ['prints nothing', 'Unknown', /failed \(add\): it printed no result$/, 'exit 0'],
    ['prints too much', 'ResourceExhausted', /printed more than \d+ bytes$/, 'exec yes'],
    [
      'gives an address that is none',
      'Unknown',
      /ips\[0\].address "10.0.0.300\/24" must be/,
      `echo '{"ips":[{"address":"10.0.0.300/24"}]}'`,
    ],
    ['gives no address', 'Unknown', /network net gave the pod no address on eth0$/, 'echo "{}"'],
    [
      'points out of its interfaces',
      'Unknown',
      /interface must be the index/,
      `echo '{"ips":[{"address":"10.0.0.3/24","interface":7}]}'`,
    ],
  ];
  for (const [what, code, message, ...lines] of misbehaving)
    test(`a plugin that ${what}`, async () => {
      plugin('bad', '[ $CNI_COMMAND = DEL ] && exit 0', ...lines);
      configure('1.0.0', { type: 'bad' });
      await fails(code, message);
      assert.deepEqual(told(), ['ADD bad', 'DEL bad']);
      assert.deepEqual(world.attachments.all().attachments, []);
    });

  test('a plugin that hangs is killed with its children', async () => {
    world[Symbol.dispose]();
    open({ timeoutMs: 500 });
    plugin('bad', '[ $CNI_COMMAND = DEL ] && exit 0', 'sleep 600 & echo $! > "$f.child"; wait');
    configure('1.0.0', { type: 'bad' });
    await fails('DeadlineExceeded', /plugin type="bad" failed \(add\): it was killed after 500 ms/);
    const child = readFileSync(world.at('log', '000-ADD-bad.child'), 'utf8').trim();
    await until('its child is gone', () => !existsSync(`/proc/${child}/fd/0`));
  });

  test('who goes away does not wait for a plugin, and what it did is taken back', async () => {
    plugin('slow', '[ $CNI_COMMAND = DEL ] && exit 0', 'exec sleep 600');
    configure('1.0.0', { type: 'slow' });
    const caller = new AbortController();
    const pod = podOf('pod');
    const setUp = world.network.setUp(withSignal(world.ctx, caller.signal), pod);
    const failed = assert.rejects(setUp, (error) => hasCode(error, 'Canceled'));
    await until('the plugin runs', () => told().includes('ADD slow'));
    caller.abort();
    await failed;
    assert.deepEqual(told(), ['ADD slow', 'DEL slow']);
  });

  test('names that lead elsewhere are refused before anything runs', async () => {
    for (const [type, name] of [
      ['../bin/first', 'net'],
      ['first', '../net'],
      ['..', 'net'],
    ]) {
      world.configure('10-net.conflist', { cniVersion: '1.0.0', name, plugins: [{ type }] });
      const status = await world.network.status(world.ctx, '');
      assert.equal(status.ready, false);
    }
    printing('first', answer('10.0.0.7/24'));
    configure('1.0.0', { type: 'first' });
    const pod = podOf('pod', { name: 'a;K8S_POD_NAME=b' });
    await assert.rejects(world.network.setUp(world.ctx, pod), /must have no ";"/);
    assert.deepEqual(told(), []);
  });

  test('a plugin that is not there', async () => {
    printing('first', answer('10.0.0.7/24'));
    configure('1.0.0', { type: 'first' }, { type: 'absent' });
    const pod = podOf('pod');
    await assert.rejects(
      world.network.setUp(world.ctx, pod),
      new RegExp(`failed to find plugin "absent" in path \\[${world.at('bin')}\\]`),
    );
    assert.deepEqual(told(), []);
    assert.deepEqual(world.attachments.all().attachments, []);
  });

  test('networks are set up at the same time, or one after the other', async () => {
    for (const setupSerially of [false, true]) {
      world[Symbol.dispose]();
      open({ setupSerially });
      // The first one waits for the second one, unless that can never come.
      printing(
        'first',
        answer('10.0.0.7/24'),
        `[ $CNI_COMMAND = DEL ] && exit 0`,
        setupSerially
          ? `[ -e ${world.at('two')} ] && exit 1`
          : `n=0; until [ -e ${world.at('two')} ]; do sleep 0.02; n=$((n+1)); [ $n -gt 500 ] && exit 1; done`,
      );
      printing('second', answer('10.1.0.7/24'), `touch ${world.at('two')}`);
      world.configure('10.conflist', { cniVersion: '1.0.0', name: 'one', plugins: [{ type: 'first' }] });
      world.configure('20.conf', { cniVersion: '1.0.0', name: 'two', type: 'second' });
      const { results } = await world.network.setUp(world.ctx, podOf('pod'));
      assert.deepEqual(
        results.map(({ ifName, network }) => `${network} ${ifName}`),
        ['one eth0', 'two eth1'],
      );
    }
  });

  test('one that is connected is not connected again', async () => {
    printing('first', answer('10.0.0.7/24'));
    configure('1.0.0', { type: 'first' });
    const pod = podOf('pod');
    await world.network.setUp(world.ctx, pod);
    await assert.rejects(world.network.setUp(world.ctx, pod), (error) =>
      hasCode(error, 'FailedPrecondition'),
    );
    assert.deepEqual(told(), ['ADD first']);
  });

  test('plugins of 1.1 are asked whether they are ready, and told what to keep', async () => {
    failing('first', 'STATUS', 50);
    configure('1.1.0', { type: 'first' });
    const { ready, ...why } = await world.network.status(world.ctx, 'other');
    assert.equal(ready, false);
    assert.deepEqual(why, {
      reason: 'NetworkPluginNotReady',
      message: 'Network plugin returns error: plugin type="first" failed (status): no luck; none at all',
    });
    printing('first', answer('10.0.0.7/24'));
    assert.deepEqual(await world.network.status(world.ctx, ''), { ready: true });
    await world.network.setUp(world.ctx, podOf('kept'));
    await world.network.setUp(world.ctx, podOf('lost'));
    assert.deepEqual(await world.network.collect(world.ctx, (id) => id === 'kept'), {
      released: [{ podId: 'lost', ifName: 'eth0' }],
      failures: [],
    });
    const gc = calls().at(-1);
    assert.equal(gc?.command, 'GC');
    assert.deepEqual(gc.input['cni.dev/valid-attachments'], [{ containerID: 'kept', ifname: 'eth0' }]);

    world.configure('10-net.conflist', {
      cniVersion: '1.1.0',
      name: 'net',
      disableGC: true,
      plugins: [{ type: 'first' }],
    });
    await world.network.collect(world.ctx, (id) => id === 'kept');
    assert.equal(calls().filter(({ command }) => command === 'GC').length, 1);
  });

  test('what cannot be read is told, and plugins are not told to drop it', async () => {
    printing('first', answer('10.0.0.7/24'));
    configure('1.1.0', { type: 'first' });
    const pod = podOf('pod');
    await world.network.setUp(world.ctx, pod);
    world.configure('../attachments/pod@eth0.json', {});
    await assert.rejects(world.network.tearDown(world.ctx, pod.id), (error) => hasCode(error, 'DataLoss'));
    const { failures } = await world.network.collect(world.ctx, () => false);
    assert.equal(failures.length, 1);
    assert.deepEqual(told(), ['ADD first']);
  });

  test('a plugin that still adds after the daemon was killed is ended before its work is taken back', async () => {
    plugin(
      'slow',
      '[ $CNI_COMMAND = DEL ] && exit 0',
      'kill -9 $PPID',
      'sleep 600 & echo $! > "$f.child"; wait',
    );
    configure('1.0.0', { type: 'slow' });
    world.pod('lost');
    const run = spawnSync(process.execPath, [setupChild, world.folder, 'lost'], { encoding: 'utf8' });
    assert.equal(run.signal, 'SIGKILL', run.stderr);
    const file = world.at('log', '000-ADD-slow.child');
    await until('the plugin is at work', () => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'));
    const { released } = await world.network.collect(world.ctx, () => false);
    assert.equal(released.length, 1);
    assert.deepEqual(told(), ['ADD slow', 'DEL slow']);
    const child = readFileSync(file, 'utf8').trim();
    await until('its child is gone', () => !existsSync(`/proc/${child}/fd/0`));
  });

  test('the versions that a plugin speaks', async () => {
    plugin('first', `echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'`);
    assert.deepEqual(await world.plugins.versions(world.ctx, 'first'), ['0.4.0', '1.0.0']);
    assert.deepEqual(told(), ['VERSION first']);
  });
});
