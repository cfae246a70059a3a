/** Specs given to the real runc: it takes them, and what they ask for is so inside. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { parseEffectiveCapabilities } from '../../oci/capabilities.ts';
import type { RuntimeSpec, SpecNamespace } from '../../oci/runtime-spec.ts';
import { makeBusyboxRoot } from '../../testing/busybox-root.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import { SecurityProfile_ProfileType as Profile } from '../../wire/gen/runtime/v1/common_pb.js';
import { MountPropagation } from '../../wire/gen/runtime/v1/container_pb.js';
import { hostReads } from './host-reads.ts';
import { podConfig, type SpecChanges, testContainer, testSandbox } from './spec.fixture.ts';

const run = promisify(execFile);
const runtimeDefault = { seccomp: { profileType: Profile.RuntimeDefault } };
const [major = 0, minor = 0] = release().split('.').map(Number);

/**
 * Calls made straight (numbers of x86-64) by perl of this machine: errno under RuntimeDefault, and without a filter
 * where that is the same on every kernel. 0 for success.
 */
const calls: readonly (readonly [name: string, call: string, filtered: number, free?: number])[] = [
  ['getpid', '39', 0, 0],
  ['keyctl(KEYCTL_GET_KEYRING_ID)', '250, 0, -1, 0', 1],
  ['io_uring_setup', '425, 1, 0', 1],
  ['userfaultfd', '323, 0xff', 1],
  ['kexec_load', '246, 0, 0, 0, -1', 1],
  ['unshare(CLONE_NEWUSER)', '272, 0x10000000', 1],
  ['clone(CLONE_NEWUSER)', '56, 0x10000011, 0, 0, 0, 0', 1],
  ['clone3', '435, 0, 0', 38, 22],
  ['socket(AF_UNIX)', '41, 1, 1, 0', 0, 0],
  ['socket(AF_VSOCK)', '41, 40, 1, 0', 1],
  ['personality(0xffffffff)', '135, 0xffffffff', 0, 0],
  ['personality(ADDR_NO_RANDOMIZE)', '135, 0x0040000', 1, 0],
  ['ptrace(PTRACE_PEEKUSER) of nobody', '101, 3, 99999, 0, 0', 3, 3],
  ['process_vm_readv of nothing', '310, 99999, 0, 0, 0, 0, 0', 0, 0],
  ['mount from nowhere', '165, 0, 0, 0, 0, 0', 1, 14],
  ['bpf', '321, 0, 0, 0', 1],
];

void describe('specs under runc', { skip: needsRoot('runc makes namespaces and mounts') }, () => {
  let home = '';
  let number = 0;
  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'gantry-spec-'));
    for (const folder of ['pod', 'shm', 'volume', 'runc']) mkdirSync(join(home, folder));
    for (const file of ['hosts', 'hostname', 'resolv.conf'])
      writeFileSync(join(home, 'pod', file), `of ${file}\n`);
  });
  after(() => rm(home, { recursive: true, force: true }));

  const files = () => ({
    hostname: join(home, 'pod/hostname'),
    hosts: join(home, 'pod/hosts'),
    resolvConf: join(home, 'pod/resolv.conf'),
    shm: join(home, 'shm'),
  });

  /** The pod's namespaces are new ones here, as there is no pod. */
  const alone = (spec: RuntimeSpec): RuntimeSpec => {
    const namespaces: SpecNamespace[] = (spec.linux?.namespaces ?? []).map(({ type }) => ({ type }));
    return { ...spec, linux: { ...spec.linux, namespaces } };
  };

  async function runSpec(spec: RuntimeSpec): Promise<string> {
    const id = `gantry-spec-${process.pid}-${number++}`;
    const bundle = join(home, id);
    makeBusyboxRoot(join(bundle, 'rootfs'), [
      'sh',
      'id',
      'cat',
      'ls',
      'mount',
      'unshare',
      'nsenter',
      'sleep',
      'touch',
      'true',
    ]);
    writeFileSync(join(bundle, 'rootfs/etc/passwd'), 'root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n');
    writeFileSync(join(bundle, 'rootfs/etc/group'), 'root:x:0:\nstaff:x:50:app\n');
    // A cgroup of its own at the top, which runc removes again.
    const { cgroupsPath: _, ...linux } = alone(spec).linux ?? {};
    const config = { ...spec, linux: { ...linux, cgroupsPath: `/${id}` } };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
    const { stdout } = await run('runc', ['--root', join(home, 'runc'), 'run', '--bundle', bundle, id], {
      timeout: 30_000,
    });
    return stdout;
  }

  const shell = async (script: string, changes: SpecChanges = {}): Promise<string> => {
    const status = await readFile('/proc/self/status', 'utf8');
    const held = parseEffectiveCapabilities(status);
    const made = await testContainer({
      ...changes,
      image: { entrypoint: ['/bin/sh', '-c', script], cmd: [] },
      host: { capabilities: held, kernel: { major, minor }, unifiedCgroups: false, swapController: false },
      runtime: { recursiveReadOnlyMounts: false, idmapMounts: false },
      reads: hostReads,
      context: { rootFile: async (path) => rootFiles[path] ?? '' },
      request: {
        pod: {
          id: 'p1',
          config: podConfig(changes.pod),
          namespaces: { network: '/n', ipc: '/i', uts: '/u', pid: '/p', user: '/x' },
          files: files(),
          selinuxLabel: '',
        },
      },
    });
    return runSpec(made.spec);
  };
  const rootFiles: Readonly<Record<string, string>> = {
    '/etc/passwd': 'root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n',
    '/etc/group': 'root:x:0:\nstaff:x:50:app\n',
  };
  const secured = (
    securityContext: NonNullable<NonNullable<SpecChanges['container']>['linux']>['securityContext'],
  ) => ({
    container: { linux: { securityContext } },
  });

  void it('user and groups', async () => {
    const text = await shell(
      'id -u; id -g; id -G',
      secured({ runAsUsername: 'app', supplementalGroups: [77n] }),
    );
    assert.equal(text, '1000\n1001\n1001 50 77\n');
  });

  void it('capabilities, ambient ones, no_new_privs and the filter, as the kernel sees them', async () => {
    const status = await shell(
      'cat /proc/self/status',
      secured({
        runAsUser: { value: 1000n },
        noNewPrivs: true,
        capabilities: { addAmbientCapabilities: ['NET_BIND_SERVICE'], dropCapabilities: ['ALL'] },
        ...runtimeDefault,
      }),
    );
    const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)$`, 'm').exec(status)?.[1];
    const only = '0000000000000400';
    assert.deepEqual(['CapBnd', 'CapEff', 'CapPrm', 'CapInh', 'CapAmb'].map(field), [
      only,
      only,
      only,
      only,
      only,
    ]);
    assert.deepEqual([field('NoNewPrivs'), field('Seccomp')], ['1', '2']);
  });

  void it('mounts: the standard ones, the pod’s files and the kubelet’s over them', async () => {
    writeFileSync(join(home, 'volume/file'), 'data\n');
    const text = await shell(
      'cat /etc/hosts /etc/hostname /v/file; touch /v/x 2>&1; touch /dev/shm/y; cat /proc/mounts',
      {
        container: {
          mounts: [
            { containerPath: '/v', hostPath: join(home, 'volume'), readonly: true },
            { containerPath: '/etc/hosts', hostPath: join(home, 'volume/file') },
            { containerPath: '/made', hostPath: join(home, 'made/here') },
          ],
        },
      },
    );
    assert.match(text, /^data\nof hostname\ndata\n/);
    assert.match(text, /\/v\/x: Read-only file system/);
    for (const place of [
      '/proc proc',
      '/dev tmpfs',
      '/dev/pts devpts',
      '/dev/mqueue mqueue',
      '/sys sysfs ro',
      '/made',
    ])
      assert.match(text, new RegExp(` ${place}`, 'm'));
    assert.equal(readFileSync(join(home, 'shm/y'), 'utf8'), '');
  });

  void it('a read-only root, hidden paths and the sandbox', async () => {
    const text = await shell(
      'touch /x 2>&1; cat /proc/timer_list; echo 1 2>/dev/null >/proc/sys/kernel/sem || echo no',
      secured({
        readonlyRootfs: true,
        maskedPaths: ['/proc/timer_list'],
        readonlyPaths: ['/proc/sys'],
      }),
    );
    assert.equal(text, 'touch: /x: Read-only file system\nno\n');
  });

  void it('the pod’s own process, with its sysctls', async () => {
    const { spec } = await testSandbox({
      image: {
        entrypoint: [
          '/bin/sh',
          '-c',
          'cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/self/oom_score_adj; cat /proc/sys/kernel/hostname',
        ],
        cmd: [],
      },
      host: { capabilities: [], unifiedCgroups: false },
    });
    const mounts = (spec.mounts ?? []).map((mount) =>
      mount.destination === '/etc/resolv.conf'
        ? { ...mount, source: files().resolvConf }
        : mount.destination === '/dev/shm'
          ? { ...mount, source: files().shm }
          : mount,
    );
    assert.equal(await runSpec({ ...spec, mounts }), '0\n0\nweb-0\n');
  });

  /** errno by the name of each call. */
  async function errnos(
    words: Parameters<typeof secured>[0],
    list: typeof calls,
  ): Promise<Record<string, number>> {
    const steps = list.map(
      ([, call]) => `$! = 0; $r = syscall(${call}); print(($r == -1 ? $!+0 : 0), "\\n");`,
    );
    const text = await shell(`exec /usr/bin/perl -e '$| = 1; ${steps.join(' ')}'`, {
      container: {
        ...secured(words).container,
        mounts: ['/usr', '/lib', '/lib64'].map((path) => ({
          containerPath: path,
          hostPath: path,
          readonly: true,
        })),
      },
    });
    const found = text.trim().split('\n').map(Number);
    return Object.fromEntries(list.map(([name], index) => [name, found[index] ?? -1]));
  }
  const onlyX64 = process.arch === 'x64' ? false : 'needs x86-64: the numbers of the calls are its';

  void it('RuntimeDefault forbids and allows', { skip: onlyX64 }, async () => {
    assert.deepEqual(
      await errnos(runtimeDefault, calls),
      Object.fromEntries(calls.map(([name, , filtered]) => [name, filtered])),
    );
  });
  void it('Unconfined leaves it to the kernel', { skip: onlyX64 }, async () => {
    const known = calls.filter(([, , , free]) => free !== undefined);
    assert.deepEqual(
      await errnos({ seccomp: { profileType: Profile.Unconfined } }, known),
      Object.fromEntries(known.map(([name, , , free]) => [name, free])),
    );
  });
  void it('RuntimeDefault runs a shell and what it forks', async () => {
    assert.equal(await shell('ls / >/dev/null && sleep 0 && echo fine', secured(runtimeDefault)), 'fine\n');
  });

  void it('RuntimeDefault lets CAP_SYS_ADMIN mount', async () => {
    const words = { ...runtimeDefault, capabilities: { addCapabilities: ['SYS_ADMIN'] } };
    assert.equal(await shell('mount -t tmpfs x /tmp && echo done', secured(words)), 'done\n');
  });

  void it('privileged: all capabilities of this process, the host’s devices, a writable /sys', async () => {
    const held = /^CapEff:\s*(\S+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? '';
    const text = await shell(
      'cat /proc/self/status /proc/mounts; ls -l /dev; mount -t tmpfs x /tmp && echo mounted',
      {
        ...secured({ privileged: true, ...runtimeDefault }),
        pod: { linux: { securityContext: { privileged: true } } },
      },
    );
    assert.match(text, new RegExp(`^CapEff:\\s*${held}$`, 'm'));
    assert.match(text, /^Seccomp:\s*0$/m);
    assert.match(text, / \/sys sysfs rw/);
    assert.match(text, /\nmounted\n$/);
    const onHost = await hostReads.devices('/dev');
    const top = onHost.filter(({ path }) => /^\/dev\/[A-Za-z0-9_-]+$/.test(path));
    assert.ok(top.length > 5);
    for (const { path } of top) assert.match(text, new RegExp(` ${path.slice(5)}(?: ->.*)?$`, 'm'));
  });

  void it('sends mounts on only where the source can', async () => {
    const mounts = [
      { containerPath: '/v', hostPath: '/proc', propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL },
    ];
    const { shared } = await hostReads.mountOf('/proc');
    const made = testContainer({ container: { mounts }, reads: hostReads });
    if (shared) assert.equal((await made).spec.linux?.rootfsPropagation, 'rshared');
    else await assert.rejects(made, /not a shared mount/);
  });
});
