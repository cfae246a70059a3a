/**
 * The spec of a container of a pod: the kubelet's words over the image's, within what the pod, the host and the runtime
 * allow. What they do not allow is refused here, before anything has been made.
 */
import { invalidArgument } from '../../base/errors.ts';
import { defaultMaskedPaths, defaultReadonlyPaths, ociVersion } from '../../oci/default-spec.ts';
import type { ImageRunConfig } from '../../oci/image-config.ts';
import type { RuntimeSpec, SpecMount, SpecProcess, SpecUser } from '../../oci/runtime-spec.ts';
import type {
  ContainerConfig,
  LinuxContainerSecurityContext,
} from '../../wire/gen/runtime/v1/container_pb.js';
import type { PodSandboxConfig } from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { apparmorProfile } from './apparmor.ts';
import { withCdiDevices } from './cdi-apply.ts';
import { cdiDeviceNames } from './cdi-names.ts';
import type { CdiRegistry } from './cdi-registry.ts';
import { cgroupPath } from './cgroup-path.ts';
import { type ContainerDevices, containerDevices } from './container-devices.ts';
import { type ContainerMounts, containerMounts, type PodFiles } from './container-mounts.ts';
import { containerResources } from './container-resources.ts';
import {
  containerNamespaces,
  type IdMappings,
  isOnHost,
  type PodNamespaces,
  sameMappings,
} from './namespaces.ts';
import { processCapabilities } from './process-capabilities.ts';
import { oomScoreAdj } from './process-oom-score.ts';
import { processUser } from './process-user.ts';
import { containerArgs, containerEnv, workingDirectory } from './process-words.ts';
import { resourceClasses } from './resource-classes.ts';
import type { SpecContext } from './sandbox-spec.ts';
import { seccompFilter } from './seccomp.ts';
import { type SelinuxLabels, selinuxLabels } from './selinux.ts';
import { containerAnnotations, passedThrough } from './spec-annotations.ts';
import { standardMounts, without } from './standard-mounts.ts';

export interface ContainerSpecRequest {
  readonly id: string;
  readonly namespace: string;
  readonly config: ContainerConfig;
  readonly pod: PodOfContainer;
  /** Its name, and what it says. */
  readonly image: { readonly name: string; readonly config: ImageRunConfig };
  /** Directories made for the volumes that the image names; see imageVolumes. */
  readonly volumes: readonly { readonly containerPath: string; readonly hostPath: string }[];
  /** By the container's path: where image volumes are on the host. */
  readonly imageVolumes: ReadonlyMap<string, string>;
  /** `/proc/PID/ns/pid` of the container that TARGET names. */
  readonly targetPid?: string;
}

export interface PodOfContainer {
  readonly id: string;
  readonly config: PodSandboxConfig;
  readonly namespaces: PodNamespaces;
  readonly files: PodFiles;
  /** As sandboxSpec gave it; "" for none. */
  readonly selinuxLabel: string;
}

export interface ContainerSpecContext extends SpecContext {
  /** Read when the container asks for CDI devices. */
  readonly cdi: () => Promise<CdiRegistry>;
}

export interface ContainerSpec {
  readonly spec: RuntimeSpec;
  /** As ContainerStatus tells it. */
  readonly user: SpecUser;
  readonly selinux: SelinuxLabels;
  /** Real paths on the host that want the mount label. */
  readonly relabel: readonly string[];
}

interface Parts {
  readonly mappings: IdMappings | undefined;
  readonly process: SpecProcess;
  readonly labels: SelinuxLabels;
  readonly mounts: ContainerMounts;
  readonly devices: ContainerDevices;
  readonly seccomp: unknown;
}

/** Errors: InvalidArgument. */
export async function containerSpec(
  request: ContainerSpecRequest,
  context: ContainerSpecContext,
): Promise<ContainerSpec> {
  const { config } = request;
  const security = config.linux?.securityContext;
  checkPrivileged(request);
  const labels = selinuxLabels(security?.selinuxOptions, {
    facts: context.host.selinux,
    podLabel: request.pod.selinuxLabel,
    vmBased: context.runtime.vmBased,
  });
  const mappings = sameMappings(
    request.pod.config.linux?.securityContext?.namespaceOptions,
    security?.namespaceOptions,
  );
  const process = await containerProcess(request, context, labels);
  const parts: Parts = {
    mappings,
    process,
    labels,
    devices: await containerDevices(config.devices, {
      privileged: security?.privileged === true,
      readDevices: context.reads.devices,
      settings: context.settings,
      ...(context.settings.deviceOwnershipFromSecurityContext && { owner: process.user }),
    }),
    mounts: await bindMounts(request, mappings, context),
    seccomp: await seccompFilter(security, {
      capabilities: process.capabilities?.bounding ?? [],
      host: context.host,
      unsetProfile: context.settings.unsetSeccompProfile,
      readFile: context.reads.file,
    }),
  };
  const spec = await withCdi(compose(request, parts, context), request, context);
  return { spec, user: spec.process?.user ?? process.user, selinux: labels, relabel: parts.mounts.relabel };
}

function checkPrivileged({ config, pod }: ContainerSpecRequest): void {
  const inPod = pod.config.linux?.securityContext?.privileged === true;
  if (config.linux?.securityContext?.privileged === true && !inPod)
    throw invalidArgument('no privileged container allowed in sandbox: the pod itself is not privileged');
}

function compose(request: ContainerSpecRequest, parts: Parts, context: ContainerSpecContext): RuntimeSpec {
  const { config, pod } = request;
  const { settings } = context;
  const security = config.linux?.securityContext;
  const metadata = { podId: pod.id, metadata: config.metadata, image: request.image.name };
  return {
    ociVersion,
    process: parts.process,
    root: { path: 'rootfs', ...(security?.readonlyRootfs === true && { readonly: true }) },
    mounts: [
      ...without(ownFileSystems(request, parts.mappings, context), parts.mounts.mounts),
      ...parts.mounts.mounts,
    ],
    annotations: {
      ...passedThrough(pod.config.annotations, settings.podAnnotations),
      ...passedThrough(config.annotations, settings.containerAnnotations),
      ...containerAnnotations(pod.config, metadata),
    },
    linux: linuxPart(request, parts, context),
  };
}

function linuxPart(
  { id, namespace, config, pod, targetPid }: ContainerSpecRequest,
  { mappings, labels, mounts, devices, seccomp }: Parts,
  { host, settings }: ContainerSpecContext,
): NonNullable<RuntimeSpec['linux']> {
  const linux = config.linux;
  const security = linux?.securityContext;
  const privileged = security?.privileged === true;
  const words = security?.namespaceOptions;
  const cgroups = !settings.disableCgroup;
  return {
    ...mappings,
    ...resourceClasses(
      { name: config.metadata?.name ?? '', own: config.annotations, pod: pod.config.annotations },
      settings,
    ),
    resources: {
      devices: devices.rules,
      ...(cgroups && containerResources(linux?.resources, { host, settings })),
    },
    ...(cgroups && { cgroupsPath: cgroupPath(pod.config.linux?.cgroupParent ?? '', { id, namespace }) }),
    namespaces: containerNamespaces(words, {
      pod: pod.namespaces,
      ...(targetPid !== undefined && { targetPid }),
      mappings,
      cgroup: host.unifiedCgroups && !privileged,
    }),
    devices: devices.devices,
    ...(seccomp !== undefined && { seccomp }),
    ...(mounts.rootfsPropagation && { rootfsPropagation: mounts.rootfsPropagation }),
    ...(!privileged && hiddenPaths(security, settings.disableProcMount)),
    ...(labels.mount !== '' && { mountLabel: labels.mount }),
  };
}

/** The kubelet names what is hidden; with `disable_proc_mount` it is not asked. */
const hiddenPaths = (
  security: LinuxContainerSecurityContext | undefined,
  disabled: boolean,
): NonNullable<RuntimeSpec['linux']> =>
  disabled
    ? { maskedPaths: defaultMaskedPaths, readonlyPaths: defaultReadonlyPaths }
    : { maskedPaths: security?.maskedPaths ?? [], readonlyPaths: security?.readonlyPaths ?? [] };

async function containerProcess(
  { config, pod, image }: ContainerSpecRequest,
  { host, settings, reads, rootFile }: ContainerSpecContext,
  labels: SelinuxLabels,
): Promise<SpecProcess> {
  const security = config.linux?.securityContext;
  const resources = config.linux?.resources;
  const privileged = security?.privileged === true;
  const apparmor = await apparmorProfile(security, {
    enabled: host.apparmor && !settings.disableApparmor,
    isLoaded: reads.apparmorProfileLoaded,
  });
  return {
    ...(config.tty && { terminal: true }),
    user: await processUser(security, image.config.user, rootFile),
    args: containerArgs(config, image.config),
    env: containerEnv(config, image.config, pod.config.hostname || host.hostname),
    cwd: workingDirectory(config.workingDir, image.config),
    capabilities: processCapabilities(
      { capabilities: security?.capabilities, privileged },
      host.capabilities,
    ),
    ...(security?.noNewPrivs === true && { noNewPrivileges: true }),
    ...(apparmor !== undefined && { apparmorProfile: apparmor }),
    ...(labels.process !== '' && !privileged && { selinuxLabel: labels.process }),
    ...(resources && { oomScoreAdj: oomScoreAdj(resources.oomScoreAdj, host, settings.restrictOomScoreAdj) }),
  };
}

function ownFileSystems(
  { config, pod }: ContainerSpecRequest,
  mappings: IdMappings | undefined,
  { settings }: ContainerSpecContext,
): SpecMount[] {
  const podWords = pod.config.linux?.securityContext?.namespaceOptions;
  return standardMounts({
    privileged: config.linux?.securityContext?.privileged === true,
    cgroup: settings.cgroupWritable ? 'writable' : 'readonly',
    boundSysfs: mappings !== undefined && isOnHost(podWords?.network),
  });
}

function bindMounts(
  { config, pod, imageVolumes, volumes }: ContainerSpecRequest,
  mappings: IdMappings | undefined,
  context: ContainerSpecContext,
): Promise<ContainerMounts> {
  const security = config.linux?.securityContext;
  const onHost = isOnHost(security?.namespaceOptions?.ipc);
  return containerMounts(
    {
      mounts: config.mounts,
      imageVolumes,
      podFiles: { ...pod.files, ...(onHost && { shm: '/dev/shm' }) },
      volumes: context.settings.ignoreImageDefinedVolumes ? [] : volumes,
      readonlyRootfs: security?.readonlyRootfs === true,
      mappings,
    },
    context,
  );
}

async function withCdi(
  spec: RuntimeSpec,
  { config }: ContainerSpecRequest,
  { cdi, reads }: ContainerSpecContext,
): Promise<RuntimeSpec> {
  const names = cdiDeviceNames(config.CDIDevices, config.annotations);
  if (names.length === 0) return spec;
  return withCdiDevices(spec, names, { registry: await cdi(), readDevices: reads.devices });
}
