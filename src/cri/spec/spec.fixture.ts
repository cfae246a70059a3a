/** Pods, containers and a machine for the tests of specs: ordinary ones, changed by what each test is about. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { allCapabilities } from '../../oci/capabilities.ts';
import type { ImageRunConfig } from '../../oci/image-config.ts';
import {
  type ContainerConfig,
  ContainerConfigSchema,
  ContainerMetadataSchema,
} from '../../wire/gen/runtime/v1/container_pb.js';
import {
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxMetadataSchema,
} from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { cdiRegistry } from './cdi-registry.ts';
import {
  type ContainerSpec,
  type ContainerSpecContext,
  type ContainerSpecRequest,
  containerSpec,
} from './container-spec.ts';
import { type SandboxSpec, sandboxSpec } from './sandbox-spec.ts';
import type { HostFacts, HostReads, RuntimeFacts, SpecSettings } from './spec-facts.ts';

export const testHost: HostFacts = {
  unifiedCgroups: true,
  kernel: { major: 6, minor: 1 },
  architecture: 'amd64',
  capabilities: allCapabilities,
  hostname: 'node-1',
  seccomp: true,
  apparmor: false,
  hugetlbController: true,
  swapController: true,
  oomScoreAdj: 0,
};

export const testRuntime: RuntimeFacts = { idmapMounts: true, recursiveReadOnlyMounts: true, vmBased: false };

export const testSettings: SpecSettings = {
  podAnnotations: [],
  containerAnnotations: [],
  privilegedWithoutHostDevices: false,
  privilegedWithoutHostDevicesAllDevicesAllowed: false,
  cgroupWritable: false,
  unsetSeccompProfile: '',
  tolerateMissingHugetlbController: false,
  disableHugetlbController: false,
  disableCgroup: false,
  disableProcMount: false,
  disableApparmor: false,
  restrictOomScoreAdj: false,
  ignoreImageDefinedVolumes: false,
  deviceOwnershipFromSecurityContext: false,
  enableUnprivilegedPorts: true,
  enableUnprivilegedIcmp: true,
  rdtEnabled: false,
  ignoreRdtNotEnabledErrors: false,
  ignoreBlockioNotEnabledErrors: false,
};

export const testImage: ImageRunConfig = {
  user: '',
  env: [],
  entrypoint: ['/entry'],
  cmd: ['cmd'],
  workingDir: '',
  volumes: [],
  exposedPorts: [],
  labels: {},
  stopSignal: '',
};

const passwdText = 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n';
const groupText = 'root:x:0:\nstaff:x:50:app\nextra:x:60:app,root\n';

/** Sources are as given, devices have numbers by the length of their names, files are absent. */
export const testReads: HostReads = {
  bindSource: async (path) => path,
  mountOf: async () => ({ mountPoint: '/', shared: false, slave: false }),
  devices: async (path) =>
    path === '/dev'
      ? [{ path: '/dev/all', type: 'c', major: 9, minor: 9 }]
      : [{ path, type: 'c', major: 1, minor: path.length }],
  file: async (path) => {
    throw new Error(`no ${path}`);
  },
  apparmorProfileLoaded: async (name) => name === 'mine',
};

export interface SpecChanges {
  readonly pod?: MessageInitShape<typeof PodSandboxConfigSchema>;
  readonly container?: MessageInitShape<typeof ContainerConfigSchema>;
  readonly image?: Partial<ImageRunConfig>;
  readonly host?: Partial<HostFacts>;
  readonly runtime?: Partial<RuntimeFacts>;
  readonly settings?: Partial<SpecSettings>;
  readonly reads?: Partial<HostReads>;
  readonly request?: Partial<ContainerSpecRequest>;
  readonly context?: Partial<ContainerSpecContext>;
  readonly podLabel?: string;
}

export function podConfig(init: SpecChanges['pod'] = {}): PodSandboxConfig {
  const config = create(PodSandboxConfigSchema, init);
  config.metadata ??= create(PodSandboxMetadataSchema, { name: 'web', namespace: 'shop', uid: 'u-1' });
  config.hostname ||= 'web-0';
  config.logDirectory ||= '/logs';
  return config;
}

export function containerConfig(init: SpecChanges['container'] = {}): ContainerConfig {
  const config = create(ContainerConfigSchema, init);
  config.metadata ??= create(ContainerMetadataSchema, { name: 'main' });
  return config;
}

export function specContext(changes: SpecChanges): ContainerSpecContext {
  return {
    host: { ...testHost, ...changes.host },
    runtime: { ...testRuntime, ...changes.runtime },
    settings: { ...testSettings, ...changes.settings },
    reads: { ...testReads, ...changes.reads },
    rootFile: async (path) => (path === '/etc/passwd' ? passwdText : groupText),
    cdi: async () => cdiRegistry([]),
    ...changes.context,
  };
}

const namespaces = { network: '/ns/net', ipc: '/ns/ipc', uts: '/ns/uts', pid: '/ns/pid', user: '/ns/user' };
const files = {
  hostname: '/pod/hostname',
  hosts: '/pod/hosts',
  resolvConf: '/pod/resolv.conf',
  shm: '/pod/shm',
};

export const testContainer = (changes: SpecChanges = {}): Promise<ContainerSpec> =>
  containerSpec(
    {
      id: 'c1',
      namespace: 'k8s.io',
      config: containerConfig(changes.container),
      pod: {
        id: 'p1',
        config: podConfig(changes.pod),
        namespaces,
        files,
        selinuxLabel: changes.podLabel ?? '',
      },
      image: { name: 'docker.io/library/app:1', config: { ...testImage, ...changes.image } },
      volumes: [],
      imageVolumes: new Map(),
      ...changes.request,
    },
    specContext(changes),
  );

export const testSandbox = (changes: SpecChanges = {}): Promise<SandboxSpec> =>
  sandboxSpec(
    {
      id: 'p1',
      namespace: 'k8s.io',
      config: podConfig(changes.pod),
      image: { name: 'pause:1', config: { ...testImage, entrypoint: ['/pause'], cmd: [], ...changes.image } },
      networkNamespace: '/run/netns/x',
      files,
    },
    specContext(changes),
  );
