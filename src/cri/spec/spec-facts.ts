/**
 * What a spec of the CRI is made from besides the kubelet's words: facts of the host and of the runtime, settings, and
 * the few small reads of the host that nobody can do in advance. Everything under `cri/spec` is a function of these;
 * host-reads.ts has the real reads.
 */
import type { SpecDevice } from '../../oci/runtime-spec.ts';
import type { SelinuxFacts } from './selinux.ts';

export interface HostFacts {
  /** The cgroup file systems are those of version 2 alone. */
  readonly unifiedCgroups: boolean;
  readonly kernel: KernelVersion;
  /** In Go's words: `amd64`, `arm64`, … */
  readonly architecture: string;
  /** What this process holds: nobody can be given more. See parseEffectiveCapabilities. */
  readonly capabilities: readonly string[];
  /** Of pods that name none. */
  readonly hostname: string;
  readonly seccomp: boolean;
  readonly apparmor: boolean;
  /** Absent where SELinux is off. */
  readonly selinux?: SelinuxFacts;
  readonly hugetlbController: boolean;
  readonly swapController: boolean;
  /** Of this process. */
  readonly oomScoreAdj: number;
}

export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
}

export const isAtLeast = (kernel: KernelVersion, major: number, minor: number): boolean =>
  kernel.major > major || (kernel.major === major && kernel.minor >= minor);

/** Of the handler that the pod asks for. */
export interface RuntimeFacts {
  readonly idmapMounts: boolean;
  readonly recursiveReadOnlyMounts: boolean;
  /** Its containers are virtual machines: SELinux has a type of its own for them. */
  readonly vmBased: boolean;
}

export interface SpecSettings {
  /** Globs of the annotations of pods and containers that runtimes are told. */
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  /** `""` or `unconfined`, `runtime/default`, `localhost/FILE`: for those who say nothing. */
  readonly unsetSeccompProfile: string;
  readonly tolerateMissingHugetlbController: boolean;
  readonly disableHugetlbController: boolean;
  readonly disableCgroup: boolean;
  readonly disableProcMount: boolean;
  readonly disableApparmor: boolean;
  readonly restrictOomScoreAdj: boolean;
  readonly ignoreImageDefinedVolumes: boolean;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly enableUnprivilegedPorts: boolean;
  readonly enableUnprivilegedIcmp: boolean;
  /** The machine has resctrl mounted, and the administrator wants it used. */
  readonly rdtEnabled: boolean;
  readonly ignoreRdtNotEnabledErrors: boolean;
  readonly ignoreBlockioNotEnabledErrors: boolean;
}

export interface MountFacts {
  readonly mountPoint: string;
  readonly shared: boolean;
  readonly slave: boolean;
}

export interface HostDevice extends SpecDevice {
  /** On the host, where it differs from the place in the container by what the caller asked for. */
  readonly path: string;
}

/** Reads of the host, each of one small thing. All reject as node:fs does; the callers say what it was for. */
export interface HostReads {
  /** The real path of a bind mount's source, without symlinks; a missing one is made as a directory (mode 0755). */
  readonly bindSource: (path: string) => Promise<string>;
  /** The mount that a real path is on. */
  readonly mountOf: (path: string) => Promise<MountFacts>;
  /** The device of this path, or all devices below a directory, with their paths on the host. */
  readonly devices: (path: string) => Promise<readonly HostDevice[]>;
  readonly file: (path: string) => Promise<Uint8Array>;
  readonly apparmorProfileLoaded: (name: string) => Promise<boolean>;
}

/** Text of a file in the container's root file system, "" when absent; confined to that root. */
export type RootFile = (path: string) => Promise<string>;
