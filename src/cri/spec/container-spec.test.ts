/** Containers' specs beyond the security context: words, mounts, devices, resources, annotations, cgroups. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { hasCode } from '../../base/errors.ts';
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import type { LinuxContainerResourcesSchema } from '../../wire/gen/runtime/v1/common_pb.js';
import { MountPropagation } from '../../wire/gen/runtime/v1/container_pb.js';
import { mountHolding } from './host-reads.ts';
import { type SpecChanges, testContainer } from './spec.fixture.ts';

const refusal = (words: RegExp) => (error: Error) => {
  assert.match(error.message, words);
  return hasCode(error, 'InvalidArgument');
};
const specOf = async (changes: SpecChanges): Promise<RuntimeSpec> => (await testContainer(changes)).spec;

void describe('words of a container', () => {
  void it('env: HOSTNAME, the image’s, its own, each name once', async () => {
    const { process } = await specOf({
      image: { env: ['PATH=/image', 'A=image', 'HOSTNAME=image', 'bare'] },
      container: {
        envs: [
          { key: 'A', value: Buffer.from('own=1') },
          { key: 'B', value: Buffer.from('') },
        ],
        tty: true,
      },
    });
    assert.deepEqual(process?.env, ['PATH=/image', 'TERM=xterm', 'HOSTNAME=image', 'A=own=1', 'B=']);
    const plain = await specOf({});
    assert.equal(plain.process?.env?.at(-1), 'HOSTNAME=web-0');
  });
  void it('env: refuses names that are none', async () => {
    for (const key of ['', 'A=B', 'A\0'])
      await assert.rejects(
        testContainer({ container: { envs: [{ key, value: new Uint8Array() }] } }),
        refusal(/environment variable/),
      );
  });
  for (const [command, args, is] of [
    [[], [], ['/entry', 'cmd']],
    [[], ['x'], ['/entry', 'x']],
    [['/own'], [], ['/own']],
    [['/own'], ['x'], ['/own', 'x']],
  ] as const)
    void it(`args: command [${command.join()}], args [${args.join()}]`, async () => {
      const { process } = await specOf({ container: { command: [...command], args: [...args] } });
      assert.deepEqual(process?.args, is);
    });
  void it('args: refuses nothing at all', async () => {
    await assert.rejects(
      testContainer({ image: { entrypoint: [], cmd: [] } }),
      refusal(/no command specified/),
    );
  });
  void it('cwd: its own, the image’s, /', async () => {
    assert.equal((await specOf({})).process?.cwd, '/');
    assert.equal((await specOf({ image: { workingDir: '/i' } })).process?.cwd, '/i');
    assert.equal(
      (await specOf({ image: { workingDir: '/i' }, container: { workingDir: '/c' } })).process?.cwd,
      '/c',
    );
    await assert.rejects(
      testContainer({ container: { workingDir: 'c' } }),
      refusal(/must be an absolute path/),
    );
  });
  void it('annotations: its own, and those that globs let pass', async () => {
    const { annotations } = await specOf({
      pod: { annotations: { 'a.io/x': '1', 'b.io/x': '2', 'io.kubernetes.cri.sandbox-id': 'forged' } },
      container: { annotations: { 'c.io/y/z': '3', 'c.io/y': '4' } },
      settings: { podAnnotations: ['a.io/*', 'io.kubernetes.*'], containerAnnotations: ['c.io/?', '[bad'] },
    });
    assert.deepEqual(annotations, {
      'a.io/x': '1',
      'c.io/y': '4',
      'io.kubernetes.cri.container-name': 'main',
      'io.kubernetes.cri.container-type': 'container',
      'io.kubernetes.cri.image-name': 'docker.io/library/app:1',
      'io.kubernetes.cri.sandbox-id': 'p1',
      'io.kubernetes.cri.sandbox-name': 'web',
      'io.kubernetes.cri.sandbox-namespace': 'shop',
      'io.kubernetes.cri.sandbox-uid': 'u-1',
    });
  });
  for (const [parent, is] of [
    ['', '/k8s.io/c1'],
    ['/kubepods/pod1', '/kubepods/pod1/c1'],
    ['/kubepods.slice/kubepods-pod1.slice', 'kubepods-pod1.slice:cri-containerd:c1'],
  ] as const)
    void it(`cgroup below ${JSON.stringify(parent)}`, async () => {
      const { linux } = await specOf({ pod: { linux: { cgroupParent: parent } } });
      assert.equal(linux?.cgroupsPath, is);
    });
  void it('cgroup: refuses to leave the hierarchy', async () => {
    await assert.rejects(
      testContainer({ pod: { linux: { cgroupParent: '/a/../..' } } }),
      refusal(/without "\.\."/),
    );
  });
});

void describe('mounts of a container', () => {
  const places = ({ mounts }: RuntimeSpec) => mounts?.map(({ destination }) => destination);
  void it('are in containerd’s order, the kubelet’s before the pod’s and deep ones last', async () => {
    const spec = await specOf({
      container: {
        mounts: [
          { containerPath: '/a/b/c', hostPath: '/h1' },
          { containerPath: '/etc/hosts/', hostPath: '/h2', readonly: true },
          { containerPath: '/z', hostPath: '/h3' },
        ],
      },
      request: {
        volumes: [
          { containerPath: 'data', hostPath: '/vol/1' },
          { containerPath: '/z', hostPath: '/vol/2' },
        ],
      },
    });
    assert.deepEqual(places(spec), [
      ...['/proc', '/dev', '/dev/pts', '/dev/mqueue', '/sys', '/sys/fs/cgroup'],
      ...['/z', '/data', '/etc/hosts/', '/etc/hostname', '/etc/resolv.conf', '/dev/shm', '/a/b/c'],
    ]);
    assert.deepEqual(
      spec.mounts?.find(({ destination }) => destination === '/etc/hosts/'),
      {
        destination: '/etc/hosts/',
        type: 'bind',
        source: '/h2',
        options: ['rbind', 'rprivate', 'ro'],
      },
    );
  });
  void it('take the place of standard ones, an own /dev that of all in it', async () => {
    const spec = await specOf({
      container: {
        mounts: [
          { containerPath: '/dev', hostPath: '/dev' },
          { containerPath: '/proc', hostPath: '/p' },
        ],
      },
    });
    assert.deepEqual(places(spec)?.slice(0, 4), ['/sys', '/sys/fs/cgroup', '/dev', '/proc']);
  });
  void it('ignore the image’s volumes when told to', async () => {
    const spec = await specOf({
      settings: { ignoreImageDefinedVolumes: true },
      request: { volumes: [{ containerPath: '/data', hostPath: '/v' }] },
    });
    assert.equal(places(spec)?.includes('/data'), false);
  });
  void it('of images are read-only, from where the caller mounted them', async () => {
    const mounts = [{ containerPath: '/model', image: { image: 'model:1' } }];
    const spec = await specOf({
      container: { mounts },
      request: { imageVolumes: new Map([['/model', '/run/model']]) },
    });
    assert.deepEqual(spec.mounts?.find(({ source }) => source === '/run/model')?.options, [
      'rbind',
      'rprivate',
      'ro',
    ]);
    await assert.rejects(
      testContainer({ container: { mounts } }),
      refusal(/image model:1 for \/model is not mounted/),
    );
  });
  const shared = (facts: { shared: boolean; slave: boolean }) => ({
    mountOf: async () => ({ mountPoint: '/m', ...facts }),
  });
  const { PROPAGATION_BIDIRECTIONAL: both, PROPAGATION_HOST_TO_CONTAINER: down } = MountPropagation;
  for (const [propagation, facts, is] of [
    [both, { shared: true, slave: false }, 'rshared'],
    [both, { shared: false, slave: true }, /"\/h" is mounted on "\/m" but it is not a shared mount/],
    [down, { shared: false, slave: true }, 'rslave'],
    [down, { shared: true, slave: false }, 'rslave'],
    [down, { shared: false, slave: false }, /not a shared or slave mount/],
  ] as const)
    void it(`${MountPropagation[propagation]} from ${JSON.stringify(facts)}`, async () => {
      const made = testContainer({
        container: { mounts: [{ containerPath: '/v', hostPath: '/h', propagation }] },
        reads: shared(facts),
      });
      if (typeof is !== 'string') return assert.rejects(made, refusal(is));
      const { spec } = await made;
      assert.equal(spec.mounts?.find(({ source }) => source === '/h')?.options?.[1], is);
      return assert.equal(spec.linux?.rootfsPropagation, is);
    });
  const recursive = { containerPath: '/v', hostPath: '/h', readonly: true, recursiveReadOnly: true };
  for (const [name, mount, changes, is] of [
    ['works', {}, {}, 'rro'],
    ['needs readonly', { readonly: false }, {}, /conflicts with RW mount/],
    [
      'needs private propagation',
      { propagation: down },
      { reads: shared({ shared: true, slave: false }) },
      /needs private propagation/,
    ],
    ['needs the kernel', {}, { host: { kernel: { major: 5, minor: 11 } } }, /needs Linux 5\.12/],
    [
      'needs the runtime',
      {},
      { runtime: { recursiveReadOnlyMounts: false } },
      /nothing that the runtime can do/,
    ],
  ] as const)
    void it(`recursive read-only ${name}`, async () => {
      const made = testContainer({ container: { mounts: [{ ...recursive, ...mount }] }, ...changes });
      if (typeof is !== 'string') return assert.rejects(made, refusal(is));
      return assert.equal(
        (await made).spec.mounts?.find(({ source }) => source === '/h')?.options?.at(-1),
        is,
      );
    });
  void it('refuse paths that are not absolute, and half a mapping', async () => {
    const mount = (changes: object) =>
      testContainer({ container: { mounts: [{ containerPath: '/v', hostPath: '/h', ...changes }] } });
    await assert.rejects(mount({ containerPath: 'v' }), refusal(/in the container must be absolute/));
    await assert.rejects(mount({ hostPath: '' }), refusal(/source "" must be an absolute path/));
    await assert.rejects(
      mount({ uidMappings: [{ hostId: 1, containerId: 0, length: 1 }] }),
      refusal(/needs both/),
    );
  });
  void it('tell which sources want the label', async () => {
    const made = await testContainer({
      container: { mounts: [{ containerPath: '/v', hostPath: '/h', selinuxRelabel: true }] },
    });
    assert.deepEqual(made.relabel, ['/h', '/pod/hostname', '/pod/hosts', '/pod/resolv.conf', '/pod/shm']);
  });
  void it('know the mount that a path is on', () => {
    const text =
      '1 0 8:1 / / rw shared:1 - ext4 d rw\n2 1 8:2 / /a\\040b rw master:3 - ext4 e rw\n3 1 8:2 / /a rw - x y rw\n';
    assert.deepEqual(mountHolding('/a b/c', text), { mountPoint: '/a b', shared: false, slave: true });
    assert.deepEqual(mountHolding('/ab', text), { mountPoint: '/', shared: true, slave: false });
  });
});

void describe('devices of a container', () => {
  void it('have rules, after that all is forbidden', async () => {
    const { linux } = await specOf({
      container: { devices: [{ hostPath: '/dev/fuse', containerPath: '/dev/f', permissions: 'rw' }] },
    });
    assert.deepEqual(linux?.devices, [{ path: '/dev/f', type: 'c', major: 1, minor: 9 }]);
    assert.deepEqual(linux?.resources?.devices, [
      { allow: false, access: 'rwm' },
      { allow: true, type: 'c', major: 1, minor: 9, access: 'rw' },
    ]);
  });
  void it('belong to its user when the setting says so', async () => {
    const { linux } = await specOf({
      container: {
        devices: [{ hostPath: '/dev/a', permissions: 'r' }],
        linux: { securityContext: { runAsUser: { value: 7n } } },
      },
      settings: { deviceOwnershipFromSecurityContext: true },
    });
    assert.deepEqual([linux?.devices?.[0]?.uid, linux?.devices?.[0]?.gid], [7, 0]);
  });
  void it('refuse permissions and paths that are none', async () => {
    const device = (changes: object) =>
      testContainer({ container: { devices: [{ hostPath: '/dev/a', permissions: 'r', ...changes }] } });
    await assert.rejects(device({ permissions: 'x' }), refusal(/must be of "rwm"/));
    await assert.rejects(device({ hostPath: 'dev/a' }), refusal(/must be absolute/));
  });
});

void describe('resources of a container', () => {
  type Words = MessageInitShape<typeof LinuxContainerResourcesSchema>;
  const made = (resources: Words, changes: SpecChanges = {}) =>
    testContainer({ ...changes, container: { linux: { resources } } });
  const unlimited = 9223372036854775807n;
  const rows: readonly (readonly [string, Words, SpecChanges, object])[] = [
    ['nothing', {}, {}, {}],
    [
      'cpu',
      { cpuPeriod: 100_000n, cpuQuota: -1n, cpuShares: 2n, cpusetCpus: '0-3,6', cpusetMems: '0' },
      {},
      { cpu: { shares: 2, quota: -1, period: 100_000, cpus: '0-3,6', mems: '0' } },
    ],
    ['memory without swap', { memoryLimitInBytes: 7n }, {}, { memory: { limit: 7, swap: 7 } }],
    [
      'memory and swap',
      { memoryLimitInBytes: 7n, memorySwapLimitInBytes: 9n },
      {},
      { memory: { limit: 7, swap: 9 } },
    ],
    [
      'no swap controller',
      { memoryLimitInBytes: 7n, memorySwapLimitInBytes: 9n },
      { host: { swapController: false } },
      { memory: { limit: 7 } },
    ],
    [
      'more memory than there is',
      { memoryLimitInBytes: unlimited },
      { host: { swapController: false } },
      { memory: { limit: Number.MAX_SAFE_INTEGER } },
    ],
    [
      'huge pages',
      { hugepageLimits: [{ pageSize: '2MB', limit: 4n }] },
      {},
      { hugepageLimits: [{ pageSize: '2MB', limit: 4 }] },
    ],
    [
      'huge pages, tolerated',
      { hugepageLimits: [{ pageSize: '2MB', limit: 4n }] },
      { host: { hugetlbController: false }, settings: { tolerateMissingHugetlbController: true } },
      {},
    ],
    ['unified', { unified: { 'memory.high': 'max' } }, {}, { unified: { 'memory.high': 'max' } }],
    ['swap below memory', { memoryLimitInBytes: 9n, memorySwapLimitInBytes: 7n }, {}, /must not be less/],
    ['a bad cpuset', { cpusetCpus: '0;1' }, {}, /cpuset_cpus "0;1"/],
    ['a negative period', { cpuPeriod: -1n }, {}, /must not be negative/],
    [
      'huge pages without controller',
      { hugepageLimits: [{ pageSize: '2MB', limit: 4n }] },
      { host: { hugetlbController: false } },
      /hugetlb cgroup controller is missing/,
    ],
    ['a bad page size', { hugepageLimits: [{ pageSize: '../x', limit: 4n }] }, {}, /page_size/],
    [
      'unified on v1',
      { unified: { 'memory.high': 'max' } },
      { host: { unifiedCgroups: false } },
      /need cgroup v2/,
    ],
    [
      'unified that is a path',
      { unified: { '../memory.high': 'max' } },
      {},
      /no file of a cgroup controller/,
    ],
    ['an impossible score', { oomScoreAdj: 1001n }, {}, /from -1000 to 1000/],
  ];
  for (const [name, words, changes, is] of rows)
    void it(name, async () => {
      if (is instanceof RegExp) return assert.rejects(made(words, changes), refusal(is));
      const { devices: _, ...resources } = (await made(words, changes)).spec.linux?.resources ?? {};
      return assert.deepEqual(resources, is);
    });
  void it('score: raised to what this process may give', async () => {
    const score = async (changes: SpecChanges) =>
      (await made({ oomScoreAdj: -900n }, changes)).spec.process?.oomScoreAdj;
    assert.equal(await score({}), -900);
    assert.equal(await score({ host: { oomScoreAdj: -5 }, settings: { restrictOomScoreAdj: true } }), -5);
    assert.equal(await score({ host: { capabilities: [] } }), 0);
    assert.equal((await specOf({})).process?.oomScoreAdj, undefined);
  });
  void it('are left out where cgroups are not to be used', async () => {
    const { spec } = await made({ cpuShares: 9n }, { settings: { disableCgroup: true } });
    assert.deepEqual([spec.linux?.cgroupsPath, spec.linux?.resources?.cpu], [undefined, undefined]);
  });
});
