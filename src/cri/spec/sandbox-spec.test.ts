/** Specs of pods' own processes: the pause image, namespaces, sysctls. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import {
  NamespaceMode,
  SecurityProfile_ProfileType as Profile,
} from '../../wire/gen/runtime/v1/common_pb.js';
import { type SpecChanges, testSandbox } from './spec.fixture.ts';

const specOf = async (changes: SpecChanges = {}) => (await testSandbox(changes)).spec;
const { NODE, POD, TARGET } = NamespaceMode;
const mapping = { hostId: 100_000, containerId: 0, length: 65_536 };
const usernsOptions = { mode: POD, uids: [mapping], gids: [mapping] };
const pod = (namespaceOptions: object, sysctls: Record<string, string> = {}) => ({
  pod: { linux: { sysctls, securityContext: { namespaceOptions } } },
});

void describe('sandbox spec', () => {
  void it('is a read-only pause that is killed last', async () => {
    const { process, root, hostname, linux, mounts, annotations } = await specOf({
      pod: { linux: { resources: { cpuPeriod: 1n, cpuQuota: 2n, cpuShares: 3n, memoryLimitInBytes: 4n } } },
    });
    assert.deepEqual(
      [process?.args, process?.oomScoreAdj, process?.noNewPrivileges],
      [['/pause'], -998, true],
    );
    assert.deepEqual([root, hostname], [{ path: 'rootfs', readonly: true }, 'web-0']);
    assert.equal(linux?.resources?.cpu?.shares, 2);
    assert.deepEqual(
      mounts?.map(({ destination }) => destination),
      ['/proc', '/dev', '/dev/pts', '/dev/mqueue', '/sys', '/dev/shm', '/etc/resolv.conf'],
    );
    assert.deepEqual(annotations, {
      'io.kubernetes.cri.container-type': 'sandbox',
      'io.kubernetes.cri.podsandbox.image-name': 'pause:1',
      'io.kubernetes.cri.sandbox-cpu-period': '1',
      'io.kubernetes.cri.sandbox-cpu-quota': '2',
      'io.kubernetes.cri.sandbox-cpu-shares': '3',
      'io.kubernetes.cri.sandbox-id': 'p1',
      'io.kubernetes.cri.sandbox-log-directory': '/logs',
      'io.kubernetes.cri.sandbox-memory': '4',
      'io.kubernetes.cri.sandbox-name': 'web',
      'io.kubernetes.cri.sandbox-namespace': 'shop',
      'io.kubernetes.cri.sandbox-uid': 'u-1',
    });
  });
  for (const [name, words, types] of [
    ['its own', {}, ['pid', 'ipc', 'uts', 'mount', 'network', 'cgroup']],
    ['host network', { network: NODE }, ['pid', 'ipc', 'mount', 'cgroup']],
    ['host pid and ipc', { pid: NODE, ipc: NODE }, ['uts', 'mount', 'network', 'cgroup']],
    ['user namespace', { usernsOptions }, ['pid', 'ipc', 'uts', 'mount', 'network', 'cgroup', 'user']],
  ] as const)
    void it(`namespaces: ${name}`, async () => {
      const { linux } = await specOf(pod(words));
      assert.deepEqual(
        linux?.namespaces?.map(({ type }) => type),
        types,
      );
      const network = linux?.namespaces?.find(({ type }) => type === 'network');
      assert.equal(network?.path, 'network' in words ? undefined : '/run/netns/x');
    });
  void it('host network: no hostname, no sysctls, and in a user namespace the host’s sysfs', async () => {
    const { hostname, linux, mounts } = await specOf(pod({ network: NODE, usernsOptions }));
    assert.deepEqual([hostname, linux?.sysctl], [undefined, {}]);
    assert.deepEqual(mounts?.find(({ destination }) => destination === '/sys')?.options?.slice(0, 2), [
      'rbind',
      'rro',
    ]);
  });
  void it('sysctls: two of the daemon’s, over which the pod’s go', async () => {
    assert.deepEqual((await specOf()).linux?.sysctl, {
      'net.ipv4.ip_unprivileged_port_start': '0',
      'net.ipv4.ping_group_range': '0 2147483647',
    });
    const own = await specOf(
      pod({ usernsOptions }, { 'net/ipv4/ip_unprivileged_port_start': '80', 'kernel.sem': '1' }),
    );
    assert.deepEqual(own.linux?.sysctl, { 'net.ipv4.ip_unprivileged_port_start': '80', 'kernel.sem': '1' });
  });
  void it('seccomp by the pod’s words', async () => {
    const made = await specOf({
      pod: { linux: { securityContext: { seccomp: { profileType: Profile.RuntimeDefault } } } },
    });
    assert.ok(made.linux?.seccomp);
  });
  for (const [name, changes, words] of [
    ['a machine’s sysctl', pod({}, { 'kernel.panic': '1' }), /whole machine/],
    ['a sysctl that climbs', pod({}, { 'net/../kernel/panic': '1' }), /no name of one/],
    [
      'a network sysctl in the host’s',
      pod({ network: NODE }, { 'net.core.somaxconn': '1' }),
      /network namespace of the host/,
    ],
    [
      'an ipc sysctl in the host’s',
      pod({ ipc: NODE }, { 'kernel.msgmax': '1' }),
      /ipc namespace of the host/,
    ],
    ['TARGET', pod({ pid: TARGET }), /cannot be TARGET/],
    [
      'two mappings',
      pod({ usernsOptions: { ...usernsOptions, uids: [mapping, mapping] } }),
      /exactly one uid mapping, not 2/,
    ],
    ['NODE with mappings', pod({ usernsOptions: { ...usernsOptions, mode: NODE } }), /takes no mappings/],
    ['a long hostname', { pod: { hostname: 'h'.repeat(65) } }, /at most 64/],
    ['an image without command', { image: { entrypoint: [], cmd: [] } }, /no command specified/],
  ] as const)
    void it(`refuses ${name}`, async () => {
      await assert.rejects(testSandbox(changes), (error: Error) => {
        assert.match(error.message, words);
        return hasCode(error, 'InvalidArgument');
      });
    });
});
