/**
 * The runtime spec that a client makes for a container, as containerd's own client library does it: a default that
 * needs no configuration, changed by the image's config and by the user's wishes. `makeSpec` is the whole story; the
 * user's words win over the image's.
 */
import { invalidArgument } from '../base/errors.ts';
import { allCapabilities, defaultCapabilities, parseCapability } from './capabilities.ts';
import type { ImageRunConfig } from './image-config.ts';
import type {
  RuntimeSpec,
  SpecCapabilities,
  SpecMount,
  SpecNamespace,
  SpecProcess,
  SpecResources,
  SpecUser,
} from './runtime-spec.ts';

export interface SpecOptions {
  /** Container id and namespace name its cgroup. */
  readonly id: string;
  readonly namespace: string;
  /** Path of the root file system: absolute, or relative to the bundle. Default `rootfs`. */
  readonly rootPath?: string;
  readonly readOnlyRoot?: boolean;
  /** The image's words; absent for a bare root file system. */
  readonly image?: ImageRunConfig;
  /** Replaces the image's Cmd. */
  readonly args?: readonly string[];
  /** Replaces the image's Entrypoint; then its Cmd does not apply either. */
  readonly entrypoint?: readonly string[];
  /** `NAME=value`; a bare `NAME` takes the variable out. */
  readonly env?: readonly string[];
  readonly cwd?: string;
  /** Already resolved (see users.ts). Default root. */
  readonly user?: SpecUser;
  readonly hostname?: string;
  readonly terminal?: boolean;
  readonly mounts?: readonly SpecMount[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** The host's network, with its resolv.conf and hosts; otherwise `networkNamespace` or a new, empty one. */
  readonly hostNetwork?: boolean;
  /** Path of a network namespace to join. */
  readonly networkNamespace?: string;
  readonly memoryLimitBytes?: number;
  /** Number of CPUs, fractions allowed: a quota over a period of 100 ms. */
  readonly cpus?: number;
  readonly cpuShares?: number;
  readonly cpuQuotaUs?: number;
  readonly cpuPeriodUs?: number;
  readonly pidsLimit?: number;
  readonly privileged?: boolean;
  readonly addCapabilities?: readonly string[];
  readonly dropCapabilities?: readonly string[];
  /** What a privileged container gets; see parseEffectiveCapabilities. Default: all known. */
  readonly availableCapabilities?: readonly string[];
}

export const ociVersion = '1.1.0';
const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const cpuPeriodUs = 100_000;

const mount = (destination: string, type: string, source: string, options: string): SpecMount => ({
  destination,
  type,
  source,
  options: options.split(' '),
});

const defaultMounts: readonly SpecMount[] = [
  mount('/proc', 'proc', 'proc', 'nosuid noexec nodev'),
  mount('/dev', 'tmpfs', 'tmpfs', 'nosuid strictatime mode=755 size=65536k'),
  mount('/dev/pts', 'devpts', 'devpts', 'nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5'),
  mount('/dev/shm', 'tmpfs', 'shm', 'nosuid noexec nodev mode=1777 size=65536k'),
  mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid noexec nodev'),
  mount('/sys', 'sysfs', 'sysfs', 'nosuid noexec nodev ro'),
  mount('/run', 'tmpfs', 'tmpfs', 'nosuid strictatime mode=755 size=65536k'),
];
const hostNetworkMounts: readonly SpecMount[] = ['/etc/hosts', '/etc/resolv.conf'].map((path) =>
  mount(path, 'bind', path, 'rbind ro'),
);
/** What no container should see of the host… */
export const defaultMaskedPaths = [
  ...['acpi', 'asound', 'kcore', 'keys', 'latency_stats', 'timer_list', 'timer_stats', 'sched_debug'].map(
    (name) => `/proc/${name}`,
  ),
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
  '/proc/scsi',
];
/** …or change. */
export const defaultReadonlyPaths = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map(
  (name) => `/proc/${name}`,
);

/** Errors: InvalidArgument when there is nothing to run, or an option makes no sense. */
export function makeSpec(options: SpecOptions): RuntimeSpec {
  const privileged = options.privileged === true;
  return {
    ociVersion,
    process: makeProcess(options),
    root: {
      path: options.rootPath ?? 'rootfs',
      ...(options.readOnlyRoot === true && { readonly: true }),
    },
    ...(options.hostname !== undefined && options.hostname !== '' && { hostname: options.hostname }),
    mounts: makeMounts(options),
    ...(options.annotations && { annotations: options.annotations }),
    linux: {
      resources: makeResources(options),
      cgroupsPath: `/${options.namespace}/${options.id}`,
      namespaces: makeNamespaces(options),
      ...(!privileged && {
        maskedPaths: defaultMaskedPaths,
        readonlyPaths: defaultReadonlyPaths,
      }),
    },
  };
}

function makeProcess(options: SpecOptions): SpecProcess {
  const { image, privileged } = options;
  const env = mergeEnv(
    [...mergeEnv([defaultPath], image?.env ?? []), ...(options.terminal === true ? ['TERM=xterm'] : [])],
    options.env ?? [],
  );
  const cwd = options.cwd || image?.workingDir || '/';
  if (!cwd.startsWith('/'))
    throw invalidArgument(`working directory ${JSON.stringify(cwd)} must be absolute`);
  return {
    ...(options.terminal === true && { terminal: true }),
    user: options.user ?? { uid: 0, gid: 0 },
    args: processArgs(options),
    env,
    cwd,
    capabilities: makeCapabilities(options),
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    noNewPrivileges: privileged !== true,
  };
}

/** Entrypoint and Cmd by the image spec's rule. */
export function processArgs(options: Pick<SpecOptions, 'args' | 'entrypoint' | 'image'>): readonly string[] {
  const { image, args, entrypoint } = options;
  const given = args !== undefined && args.length > 0;
  const cmd = given ? args : entrypoint === undefined ? (image?.cmd ?? []) : [];
  const all = [...(entrypoint ?? image?.entrypoint ?? []), ...cmd];
  if (all.length === 0)
    throw invalidArgument(
      'there is no command to run: the image has no Entrypoint or Cmd, so give a command',
    );
  return all;
}

/** Later entries replace earlier ones of the same name in place; a bare name removes. */
export function mergeEnv(base: readonly string[], changes: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of [...base, ...changes]) {
    const equals = entry.indexOf('=');
    if (equals === -1) merged.delete(entry);
    else merged.set(entry.slice(0, equals), entry);
  }
  return [...merged.values()];
}

function makeCapabilities(options: SpecOptions): SpecCapabilities {
  const base =
    options.privileged === true ? (options.availableCapabilities ?? allCapabilities) : defaultCapabilities;
  const names = new Set(base);
  const everything = (list: readonly string[]): boolean => list.some((name) => name.toUpperCase() === 'ALL');
  const drop = options.dropCapabilities ?? [];
  const add = options.addCapabilities ?? [];
  if (everything(add)) for (const name of options.availableCapabilities ?? allCapabilities) names.add(name);
  if (everything(drop)) names.clear();
  for (const name of add) if (name.toUpperCase() !== 'ALL') names.add(parseCapability(name));
  for (const name of drop) if (name.toUpperCase() !== 'ALL') names.delete(parseCapability(name));
  const list = [...names];
  return { bounding: list, effective: list, permitted: list };
}

/** A mount of the user replaces a default one on the same place. */
function makeMounts(options: SpecOptions): SpecMount[] {
  const own = options.mounts ?? [];
  const taken = new Set(own.map(({ destination }) => destination));
  const base = [...defaultMounts, ...(options.hostNetwork === true ? hostNetworkMounts : [])]
    .filter(({ destination }) => !taken.has(destination))
    .map((entry) => (options.privileged === true && entry.type === 'sysfs' ? writable(entry) : entry));
  return [...base, ...own];
}

const writable = (entry: SpecMount): SpecMount => ({
  ...entry,
  options: [...(entry.options ?? []).filter((option) => option !== 'ro'), 'rw'],
});

function makeNamespaces(options: SpecOptions): SpecNamespace[] {
  const base: SpecNamespace[] = [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }];
  if (options.hostNetwork === true) return base;
  const path = options.networkNamespace;
  return [...base, { type: 'network', ...(path !== undefined && { path }) }];
}

function makeResources(options: SpecOptions): SpecResources {
  const { memoryLimitBytes, cpus, cpuShares, pidsLimit } = options;
  const quota = options.cpuQuotaUs ?? (cpus === undefined ? undefined : Math.round(cpus * cpuPeriodUs));
  if (quota !== undefined && !(quota > 0)) throw invalidArgument('cpus must be more than 0');
  const period = options.cpuPeriodUs ?? (cpus === undefined ? undefined : cpuPeriodUs);
  const cpu = {
    ...(cpuShares !== undefined && { shares: cpuShares }),
    ...(quota !== undefined && { quota }),
    ...(period !== undefined && { period }),
  };
  return {
    devices: [{ allow: options.privileged === true, access: 'rwm' }],
    ...(memoryLimitBytes !== undefined && { memory: { limit: memoryLimitBytes } }),
    ...(Object.keys(cpu).length > 0 && { cpu }),
    ...(pidsLimit !== undefined && { pids: { limit: pidsLimit } }),
  };
}
