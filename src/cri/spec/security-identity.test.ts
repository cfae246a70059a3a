/** The table of the security context: users, groups, capabilities, privilege and the root. */
import { allCapabilities, defaultCapabilities } from '../../oci/capabilities.ts';
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import { SupplementalGroupsPolicy } from '../../wire/gen/runtime/v1/common_pb.js';
import { privilegedPod, testRows } from './spec-table.fixture.ts';

const groups = ({ process }: RuntimeSpec) => [
  process?.user.uid,
  process?.user.gid,
  process?.user.additionalGids,
];
const bounding = ({ process }: RuntimeSpec) => process?.capabilities?.bounding;
const ambient = ({ process }: RuntimeSpec) => [
  process?.capabilities?.ambient,
  process?.capabilities?.inheritable,
];

testRows('security context: identity', [
  { field: 'run_as_user: default', see: groups, is: [0, 0, [0, 60]] },
  {
    field: 'run_as_user: of the image',
    changes: { image: { user: 'app' } },
    see: groups,
    is: [1000, 1001, [1001, 50, 60]],
  },
  {
    field: 'run_as_user: before the image',
    words: { runAsUser: { value: 1000n } },
    changes: { image: { user: '7' } },
    see: groups,
    is: [1000, 1001, [1001, 50, 60]],
  },
  {
    field: 'run_as_user: without an entry',
    words: { runAsUser: { value: 4000n } },
    see: groups,
    is: [4000, 0, [0]],
  },
  { field: 'run_as_user: negative', words: { runAsUser: { value: -1n } }, refused: /run_as_user is -1/ },
  { field: 'run_as_user: too high', words: { runAsUser: { value: 4294967295n } }, refused: /ids are from 0/ },
  {
    field: 'run_as_username',
    words: { runAsUsername: 'app' },
    see: groups,
    is: [1000, 1001, [1001, 50, 60]],
  },
  {
    field: 'run_as_username: unknown',
    words: { runAsUsername: 'nobody' },
    refused: /user "nobody" is not in the image/,
  },
  {
    field: 'run_as_username: with a group in it',
    words: { runAsUsername: 'app:staff' },
    refused: /contains ":"/,
  },
  {
    field: 'image user: unknown',
    changes: { image: { user: 'ghost' } },
    refused: /user "ghost" is not in the image/,
  },
  {
    field: 'run_as_group',
    words: { runAsUser: { value: 1000n }, runAsGroup: { value: 7n } },
    see: groups,
    is: [1000, 7, [7, 50, 60]],
  },
  { field: 'run_as_group: without user', words: { runAsGroup: { value: 7n } }, refused: /without user/ },
  {
    field: 'supplemental_groups',
    words: { supplementalGroups: [60n, 9n] },
    see: groups,
    is: [0, 0, [0, 60, 9]],
  },
  {
    field: 'supplemental_groups: negative',
    words: { supplementalGroups: [-9n] },
    refused: /supplemental group is -9/,
  },
  {
    field: 'supplemental_groups_policy: Strict',
    words: {
      runAsUsername: 'app',
      supplementalGroups: [9n],
      supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict,
    },
    see: groups,
    is: [1000, 1001, [1001, 9]],
  },
  { field: 'capabilities: default', see: bounding, is: defaultCapabilities },
  {
    field: 'add_capabilities',
    words: { capabilities: { addCapabilities: ['net_admin'] } },
    see: bounding,
    is: [...defaultCapabilities, 'CAP_NET_ADMIN'],
  },
  {
    field: 'add_capabilities: ALL',
    words: { capabilities: { addCapabilities: ['ALL'], dropCapabilities: ['CHOWN'] } },
    see: bounding,
    is: allCapabilities.slice(1),
  },
  {
    field: 'drop_capabilities: ALL',
    words: { capabilities: { addCapabilities: ['KILL'], dropCapabilities: ['all'] } },
    see: bounding,
    is: ['CAP_KILL'],
  },
  {
    field: 'add_capabilities: unknown',
    words: { capabilities: { addCapabilities: ['FLY'] } },
    refused: /unknown capability "FLY"/,
  },
  {
    field: 'drop_capabilities: unknown',
    words: { capabilities: { dropCapabilities: ['FLY'] } },
    refused: /unknown capability/,
  },
  {
    field: 'add_ambient_capabilities: default',
    words: { capabilities: { addCapabilities: ['NET_ADMIN'] } },
    see: ambient,
    is: [undefined, undefined],
  },
  {
    field: 'add_ambient_capabilities',
    words: { capabilities: { addAmbientCapabilities: ['NET_ADMIN'] } },
    see: ambient,
    is: [['CAP_NET_ADMIN'], ['CAP_NET_ADMIN']],
  },
  {
    field: 'add_ambient_capabilities: dropped',
    words: { capabilities: { addAmbientCapabilities: ['NET_ADMIN'], dropCapabilities: ['NET_ADMIN'] } },
    see: ambient,
    is: [undefined, undefined],
  },
  {
    field: 'privileged: not in this pod',
    words: { privileged: true },
    refused: /no privileged container allowed in sandbox/,
  },
  {
    field: 'privileged',
    words: { privileged: true, capabilities: { dropCapabilities: ['ALL'] } },
    changes: { pod: privilegedPod },
    see: bounding,
    is: allCapabilities,
  },
  {
    field: 'privileged: devices',
    words: { privileged: true },
    changes: { pod: privilegedPod },
    see: ({ linux }) => [linux?.devices?.map(({ path }) => path), linux?.resources?.devices],
    is: [['/dev/all'], [{ allow: true, access: 'rwm' }]],
  },
  {
    field: 'privileged: without devices',
    words: { privileged: true },
    changes: { pod: privilegedPod, settings: { privilegedWithoutHostDevices: true } },
    see: ({ linux }) => [linux?.devices, linux?.resources?.devices],
    is: [[], [{ allow: false, access: 'rwm' }]],
  },
  {
    field: 'privileged: file systems',
    words: { privileged: true, maskedPaths: ['/proc/kcore'] },
    changes: { pod: privilegedPod },
    see: ({ mounts, linux }) => [
      mounts
        ?.filter(({ destination }) => destination.startsWith('/sys'))
        .map(({ options }) => options?.at(-1)),
      linux?.maskedPaths,
      linux?.namespaces?.some(({ type }) => type === 'cgroup'),
    ],
    is: [['rw', 'rw'], undefined, false],
  },
  { field: 'readonly_rootfs: default', see: ({ root }) => root, is: { path: 'rootfs' } },
  {
    field: 'readonly_rootfs',
    words: { readonlyRootfs: true },
    see: ({ root, mounts }) => [
      root?.readonly,
      mounts?.find(({ destination }) => destination === '/etc/hosts')?.options,
    ],
    is: [true, ['rbind', 'rprivate', 'ro']],
  },
  { field: 'no_new_privs: default', see: ({ process }) => process?.noNewPrivileges, is: undefined },
  {
    field: 'no_new_privs',
    words: { noNewPrivs: true },
    see: ({ process }) => process?.noNewPrivileges,
    is: true,
  },
  {
    field: 'masked_paths, readonly_paths: default',
    see: ({ linux }) => [linux?.maskedPaths, linux?.readonlyPaths],
    is: [[], []],
  },
  {
    field: 'masked_paths, readonly_paths',
    words: { maskedPaths: ['/proc/kcore'], readonlyPaths: ['/proc/sys'] },
    see: ({ linux }) => [linux?.maskedPaths, linux?.readonlyPaths],
    is: [['/proc/kcore'], ['/proc/sys']],
  },
]);
