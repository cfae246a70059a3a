/**
 * The parts of the OCI runtime spec that Gantry reads or writes, with the spec's own member names, because these
 * objects are config.json. Members that are not named here are carried along untouched.
 */
export interface RuntimeSpec {
  readonly ociVersion: string;
  readonly process?: SpecProcess;
  readonly root?: SpecRoot;
  readonly hostname?: string;
  readonly mounts?: readonly SpecMount[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hooks?: SpecHooks;
  readonly linux?: SpecLinux;
}

export type SpecHookName =
  | 'prestart'
  | 'createRuntime'
  | 'createContainer'
  | 'startContainer'
  | 'poststart'
  | 'poststop';
export type SpecHooks = Readonly<Partial<Record<SpecHookName, readonly SpecHook[]>>>;

export interface SpecHook {
  /** Absolute, on the host. */
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds. */
  readonly timeout?: number;
}

export interface SpecProcess {
  readonly terminal?: boolean;
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: SpecUser;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Absolute. */
  readonly cwd: string;
  readonly capabilities?: SpecCapabilities;
  readonly rlimits?: readonly SpecRlimit[];
  readonly noNewPrivileges?: boolean;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
  readonly oomScoreAdj?: number;
}

export interface SpecUser {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
  readonly username?: string;
}

export interface SpecCapabilities {
  readonly bounding?: readonly string[];
  readonly effective?: readonly string[];
  readonly inheritable?: readonly string[];
  readonly permitted?: readonly string[];
  readonly ambient?: readonly string[];
}

export interface SpecRlimit {
  readonly type: string;
  readonly hard: number;
  readonly soft: number;
}

export interface SpecRoot {
  readonly path: string;
  readonly readonly?: boolean;
}

export interface SpecMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
  /** Of an idmapped mount. */
  readonly uidMappings?: readonly SpecIdMapping[];
  readonly gidMappings?: readonly SpecIdMapping[];
}

export interface SpecIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface SpecLinux {
  readonly uidMappings?: readonly SpecIdMapping[];
  readonly gidMappings?: readonly SpecIdMapping[];
  readonly mountLabel?: string;
  readonly intelRdt?: {
    readonly closID?: string;
    readonly l3CacheSchema?: string;
    readonly memBwSchema?: string;
  };
  readonly resources?: SpecResources;
  readonly cgroupsPath?: string;
  readonly namespaces?: readonly SpecNamespace[];
  readonly devices?: readonly SpecDevice[];
  readonly seccomp?: unknown;
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly rootfsPropagation?: string;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
}

export interface SpecNamespace {
  readonly type: 'pid' | 'ipc' | 'uts' | 'mount' | 'network' | 'user' | 'cgroup' | 'time';
  /** Joins the namespace of this path; a new one when absent. */
  readonly path?: string;
}

export interface SpecDevice {
  readonly path: string;
  readonly type: 'c' | 'b' | 'u' | 'p';
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface SpecDeviceRule {
  readonly allow: boolean;
  readonly type?: 'a' | 'c' | 'b';
  readonly major?: number;
  readonly minor?: number;
  readonly access?: string;
}

export interface SpecResources {
  readonly devices?: readonly SpecDeviceRule[];
  readonly memory?: {
    /** Bytes, as swap. */
    readonly limit?: number;
    readonly swap?: number;
    readonly reservation?: number;
  };
  readonly cpu?: {
    readonly shares?: number;
    /** Microseconds of CPU time for each period of microseconds. */
    readonly quota?: number;
    readonly period?: number;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit: number };
  /** `pageSize` as `2MB`; bytes. */
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[];
  /** Files of cgroup v2 and what to write there. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** The filter of system calls, in the members that Gantry writes. */
export interface SpecSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly syscalls?: readonly SpecSyscallRule[];
}

export interface SpecSyscallRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SpecSyscallArgument[];
}

export interface SpecSyscallArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}
