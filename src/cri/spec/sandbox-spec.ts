/**
 * The spec of a pod's own process, which holds its namespaces and does nothing else: the pause image, read-only, with
 * the least weight and as the last to be killed.
 */
import { invalidArgument } from '../../base/errors.ts';
import { defaultMaskedPaths, defaultReadonlyPaths, ociVersion } from '../../oci/default-spec.ts';
import type { ImageRunConfig } from '../../oci/image-config.ts';
import type { RuntimeSpec, SpecMount, SpecProcess } from '../../oci/runtime-spec.ts';
import type { PodSandboxConfig } from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { cgroupPath } from './cgroup-path.ts';
import { idMappings, isOnHost, sandboxNamespaces } from './namespaces.ts';
import { podSysctls } from './pod-sysctls.ts';
import { processCapabilities } from './process-capabilities.ts';
import { oomScoreAdj } from './process-oom-score.ts';
import { processUser } from './process-user.ts';
import { containerArgs, containerEnv, workingDirectory } from './process-words.ts';
import { seccompFilter } from './seccomp.ts';
import { type SelinuxLabels, selinuxLabels } from './selinux.ts';
import { passedThrough, sandboxAnnotations } from './spec-annotations.ts';
import type { HostFacts, HostReads, RootFile, RuntimeFacts, SpecSettings } from './spec-facts.ts';
import { byDepth, standardMounts, without } from './standard-mounts.ts';

const sandboxCpuShares = 2;
const sandboxOomScore = -998;

export interface SandboxSpecRequest {
  readonly id: string;
  readonly namespace: string;
  readonly config: PodSandboxConfig;
  /** The pause image: its name and what it says. */
  readonly image: { readonly name: string; readonly config: ImageRunConfig };
  /** Of the pod's network namespace; "" in the host's. */
  readonly networkNamespace: string;
  readonly files: { readonly resolvConf: string; readonly shm: string };
}

export interface SpecContext {
  readonly host: HostFacts;
  readonly runtime: RuntimeFacts;
  readonly settings: SpecSettings;
  readonly reads: HostReads;
  readonly rootFile: RootFile;
}

export interface SandboxSpec {
  readonly spec: RuntimeSpec;
  /** Containers of the pod take them over: keep them with it. */
  readonly selinux: SelinuxLabels;
}

/** Errors: InvalidArgument. */
export async function sandboxSpec(request: SandboxSpecRequest, context: SpecContext): Promise<SandboxSpec> {
  const { id, namespace, config, image, networkNamespace } = request;
  const { host, settings } = context;
  const linux = config.linux;
  const security = linux?.securityContext;
  const words = security?.namespaceOptions;
  const mappings = idMappings(words?.usernsOptions);
  const labels = selinuxLabels(security?.selinuxOptions, {
    facts: host.selinux,
    vmBased: context.runtime.vmBased,
  });
  const hostname = config.hostname;
  if (hostname.length > 64 || /[\0\n]/.test(hostname))
    throw invalidArgument(`hostname ${JSON.stringify(hostname)} must have at most 64 characters`);
  const process = await sandboxProcess(request, context);
  const seccomp = await seccompFilter(security && { ...security, privileged: security.privileged }, {
    capabilities: process.capabilities?.bounding ?? [],
    host,
    unsetProfile: settings.unsetSeccompProfile,
    readFile: context.reads.file,
  });
  const cgroups = !settings.disableCgroup;
  const spec: RuntimeSpec = {
    ociVersion,
    process: { ...process, ...(labels.process !== '' && { selinuxLabel: labels.process }) },
    root: { path: 'rootfs', readonly: true },
    ...(hostname !== '' && !isOnHost(words?.network) && { hostname }),
    mounts: sandboxMounts(request, mappings !== undefined && isOnHost(words?.network)),
    annotations: {
      ...passedThrough(config.annotations, settings.podAnnotations),
      ...sandboxAnnotations(config, { id, image: image.name }),
    },
    linux: {
      ...mappings,
      sysctl: podSysctls(linux?.sysctls ?? {}, {
        namespaces: words,
        hasUserNamespace: mappings !== undefined,
        settings,
      }),
      resources: {
        devices: [{ allow: false, access: 'rwm' }],
        ...(cgroups && { cpu: { shares: sandboxCpuShares } }),
      },
      ...(cgroups && { cgroupsPath: cgroupPath(linux?.cgroupParent ?? '', { id, namespace }) }),
      namespaces: sandboxNamespaces(words, {
        network: networkNamespace,
        mappings,
        cgroup: host.unifiedCgroups,
      }),
      ...(seccomp !== undefined && { seccomp }),
      maskedPaths: defaultMaskedPaths,
      readonlyPaths: defaultReadonlyPaths,
      ...(labels.mount !== '' && { mountLabel: labels.mount }),
    },
  };
  return { spec, selinux: labels };
}

async function sandboxProcess(
  { config, image }: SandboxSpecRequest,
  { host, settings, rootFile }: SpecContext,
): Promise<SpecProcess> {
  const none = { envs: [], tty: false, command: [], args: [] };
  return {
    user: await processUser(config.linux?.securityContext, image.config.user, rootFile),
    args: containerArgs(none, image.config),
    env: containerEnv(none, image.config, config.hostname || host.hostname),
    cwd: workingDirectory('', image.config),
    capabilities: processCapabilities({ privileged: false }),
    noNewPrivileges: true,
    oomScoreAdj: oomScoreAdj(sandboxOomScore, host, settings.restrictOomScoreAdj),
  };
}

function sandboxMounts({ config, files }: SandboxSpecRequest, boundSysfs: boolean): SpecMount[] {
  const onHost = isOnHost(config.linux?.securityContext?.namespaceOptions?.ipc);
  const own = (
    [
      ['/dev/shm', onHost ? '/dev/shm' : files.shm],
      ['/etc/resolv.conf', files.resolvConf],
    ] as const
  ).map(([destination, source]) => ({
    destination,
    type: 'bind',
    source,
    options: ['rbind', 'ro', 'nosuid', 'nodev', 'noexec'],
  }));
  const standard = standardMounts({ privileged: false, cgroup: 'absent', boundSysfs });
  return [...without(standard, own), ...byDepth(own)];
}
