/** The table of the security context: seccomp, AppArmor and SELinux. */
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import { SecurityProfile_ProfileType as Profile } from '../../wire/gen/runtime/v1/common_pb.js';
import { privilegedPod, testRows } from './spec-table.fixture.ts';

const selinux = {
  processLabel: 'system_u:system_r:container_t:s0',
  fileLabel: 'system_u:object_r:container_file_t:s0',
  vmProcessLabel: 'system_u:system_r:container_kvm_t:s0',
  uniqueLevel: () => 's0:c1,c2',
};
const seccomp = ({ linux }: RuntimeSpec) =>
  (linux?.seccomp as { defaultAction: string } | undefined)?.defaultAction;
const apparmor = ({ process }: RuntimeSpec) => process?.apparmorProfile;
const labels = ({ process, linux }: RuntimeSpec) => [process?.selinuxLabel, linux?.mountLabel];
const on = { host: { apparmor: true } };

testRows('security context: confinement', [
  { field: 'seccomp: default', see: seccomp, is: undefined },
  {
    field: 'seccomp: default by setting',
    changes: { settings: { unsetSeccompProfile: 'runtime/default' } },
    see: seccomp,
    is: 'SCMP_ACT_ERRNO',
  },
  {
    field: 'seccomp: RuntimeDefault',
    words: { seccomp: { profileType: Profile.RuntimeDefault } },
    see: seccomp,
    is: 'SCMP_ACT_ERRNO',
  },
  {
    field: 'seccomp: RuntimeDefault, privileged',
    words: { privileged: true, seccomp: { profileType: Profile.RuntimeDefault } },
    changes: { pod: privilegedPod },
    see: seccomp,
    is: undefined,
  },
  {
    field: 'seccomp: Unconfined',
    words: { seccomp: { profileType: Profile.Unconfined } },
    changes: { settings: { unsetSeccompProfile: 'runtime/default' } },
    see: seccomp,
    is: undefined,
  },
  {
    field: 'seccomp: Localhost',
    words: { seccomp: { profileType: Profile.Localhost, localhostRef: 'localhost//p.json' } },
    changes: {
      reads: {
        file: async (path) => Buffer.from(path === '/p.json' ? '{"defaultAction":"SCMP_ACT_LOG"}' : ''),
      },
    },
    see: seccomp,
    is: 'SCMP_ACT_LOG',
  },
  {
    field: 'seccomp: Localhost, absent',
    words: { seccomp: { profileType: Profile.Localhost, localhostRef: '/p.json' } },
    refused: /cannot load seccomp profile "\/p.json": no \/p.json/,
  },
  {
    field: 'seccomp: Localhost, no profile',
    words: { seccomp: { profileType: Profile.Localhost, localhostRef: '/p.json' } },
    changes: { reads: { file: async () => Buffer.from('{"syscalls":[{}]}') } },
    refused: /defaultAction must be an action/,
  },
  {
    field: 'seccomp: Localhost, unnamed',
    words: { seccomp: { profileType: Profile.Localhost } },
    refused: /needs its name/,
  },
  {
    field: 'seccomp: a name without Localhost',
    words: { seccomp: { localhostRef: '/p.json' } },
    refused: /must only be set if the profile type is Localhost/,
  },
  {
    field: 'seccomp: kernel without',
    words: { seccomp: { profileType: Profile.RuntimeDefault } },
    changes: { host: { seccomp: false } },
    refused: /seccomp is not supported/,
  },
  {
    field: 'seccomp_profile_path',
    words: { seccompProfilePath: 'runtime/default' },
    see: seccomp,
    is: 'SCMP_ACT_ERRNO',
  },
  {
    field: 'seccomp_profile_path: unknown',
    words: { seccompProfilePath: 'best' },
    refused: /invalid profile "best"/,
  },
  { field: 'apparmor: off', see: apparmor, is: undefined },
  { field: 'apparmor: default', changes: on, see: apparmor, is: 'cri-containerd.apparmor.d' },
  {
    field: 'apparmor: RuntimeDefault',
    words: { apparmor: { profileType: Profile.RuntimeDefault } },
    changes: on,
    see: apparmor,
    is: 'cri-containerd.apparmor.d',
  },
  {
    field: 'apparmor: RuntimeDefault, off',
    words: { apparmor: { profileType: Profile.RuntimeDefault } },
    refused: /apparmor is not supported/,
  },
  {
    field: 'apparmor: default, privileged',
    words: { privileged: true },
    changes: { ...on, pod: privilegedPod },
    see: apparmor,
    is: undefined,
  },
  {
    field: 'apparmor: Localhost, privileged',
    words: { privileged: true, apparmor: { profileType: Profile.Localhost, localhostRef: 'mine' } },
    changes: { ...on, pod: privilegedPod },
    see: apparmor,
    is: 'mine',
  },
  {
    field: 'apparmor: Localhost, not loaded',
    words: { apparmor: { profileType: Profile.Localhost, localhostRef: 'other' } },
    changes: on,
    refused: /apparmor profile not found other/,
  },
  {
    field: 'apparmor: Unconfined',
    words: { apparmor: { profileType: Profile.Unconfined } },
    changes: on,
    see: apparmor,
    is: undefined,
  },
  {
    field: 'apparmor: disabled by setting',
    words: { apparmor: { profileType: Profile.RuntimeDefault } },
    changes: { ...on, settings: { disableApparmor: true } },
    refused: /not supported/,
  },
  {
    field: 'apparmor_profile',
    words: { apparmorProfile: 'localhost/mine' },
    changes: on,
    see: apparmor,
    is: 'mine',
  },
  {
    field: 'selinux_options: off',
    words: { selinuxOptions: { level: 's0:c5,c6' } },
    see: labels,
    is: [undefined, undefined],
  },
  {
    field: 'selinux_options: bad level',
    words: { selinuxOptions: { level: 'high' } },
    refused: /selinux level "high"/,
  },
  {
    field: 'selinux_options: bad type',
    words: { selinuxOptions: { type: 'a:b' } },
    refused: /selinux type "a:b"/,
  },
  {
    field: 'selinux_options: default',
    changes: { host: { selinux } },
    see: labels,
    is: ['system_u:system_r:container_t:s0:c1,c2', 'system_u:object_r:container_file_t:s0:c1,c2'],
  },
  {
    field: 'selinux_options: of the pod',
    changes: { host: { selinux }, podLabel: 'u:r:pod_t:s0:c8,c9' },
    see: labels,
    is: ['u:r:pod_t:s0:c8,c9', 'u:object_r:container_file_t:s0:c8,c9'],
  },
  {
    field: 'selinux_options',
    words: { selinuxOptions: { user: 'u', type: 'spc_t', level: 's0:c5,c6' } },
    changes: { host: { selinux } },
    see: labels,
    is: ['u:system_r:spc_t:s0:c5,c6', 'u:object_r:container_file_t:s0:c5,c6'],
  },
  {
    field: 'selinux_options: virtual machine',
    changes: { host: { selinux }, runtime: { vmBased: true } },
    see: (spec) => labels(spec)[0],
    is: 'system_u:system_r:container_kvm_t:s0:c1,c2',
  },
  {
    field: 'selinux_options: privileged',
    words: { privileged: true },
    changes: { host: { selinux }, pod: privilegedPod },
    see: (spec) => labels(spec)[0],
    is: undefined,
  },
]);
