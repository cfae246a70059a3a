/**
 * Settings of the CRI, with containerd's keys. What is not read here is named as unknown at the start: a setting that
 * does nothing must not look as if it did.
 */
import path from 'node:path';
import { ContainerdError } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { ConfigTable } from '../../core/plugins/plugin.ts';
import { parseImageText } from '../../cri/image-reference.ts';
import type {
  CniSettings,
  CriSettings,
  PodNetworkSettings,
  PodSettings,
  RuntimeHandler,
} from '../../cri/settings.ts';
import type { StreamingServerOptions } from '../../cri/streaming/streaming-server.ts';
import { packAny } from '../../wire/any.ts';
import { OptionsSchema } from '../../wire/gen/containerd/types/runc/options/oci_pb.js';

export interface CriImagesConfig {
  readonly snapshotter: string;
  /** By runtime handler. */
  readonly snapshotters: ReadonlyMap<string, string>;
  readonly maxConcurrentDownloads: number;
  readonly pullProgressTimeoutMs: number;
  readonly statsPeriodMs: number;
  /** Spelled out; "" for none. */
  readonly sandboxImage: string;
  readonly registryConfigPath: string;
}

const sandboxImage = 'registry.k8s.io/pause:3.10';
const statsPeriodSeconds = 10;

export function readCriImages(table: ConfigTable): CriImagesConfig {
  const platforms = table.table('runtime_platforms');
  return {
    snapshotter: nonEmpty(table, 'snapshotter', 'overlayfs'),
    snapshotters: new Map(
      platforms.keys().map((name) => [name, platforms.table(name).string('snapshotter', '')]),
    ),
    maxConcurrentDownloads: atLeast(1, table, 'max_concurrent_downloads', limits.concurrentTransfers),
    pullProgressTimeoutMs: readTimeout(table, 'image_pull_progress_timeout', limits.criPullProgressMs),
    statsPeriodMs: atLeast(1, table, 'stats_collect_period', statsPeriodSeconds) * 1000,
    sandboxImage: readImage(table.table('pinned_images'), 'sandbox', sandboxImage),
    registryConfigPath: readRoots(table.table('registry'), 'config_path'),
  };
}

export function readCriRuntime(table: ConfigTable): CriSettings {
  const containerd = table.table('containerd');
  const runtimes = containerd.table('runtimes');
  // As in containerd, runc is there whatever else is.
  const names = [...new Set(['runc', ...runtimes.keys()])];
  const handlers = new Map(names.map((name) => [name, readHandler(runtimes.table(name), name)]));
  const defaultHandler = nonEmpty(containerd, 'default_runtime_name', 'runc');
  if (!handlers.has(defaultHandler))
    throw containerd.wrong(
      'default_runtime_name',
      `must be one of runtimes, which are ${names.join(', ')}, not ${JSON.stringify(defaultHandler)}`,
    );
  return {
    defaultHandler,
    handlers,
    cni: readCni(table.table('cni')),
    pods: readPods(table),
    podNetwork: readPodNetwork(table.table('cni')),
    ignoredDeprecations: table.strings('ignore_deprecation_warnings', []),
  };
}

const runcTypes: ReadonlySet<string> = new Set(['io.containerd.runc.v2', 'io.containerd.gantry.v1']);

function readHandler(table: ConfigTable, name: string): RuntimeHandler {
  const type = nonEmpty(table, 'runtime_type', name === 'runc' ? 'io.containerd.runc.v2' : '');
  const runc = runcTypes.has(type) ? readRuncOptions(table.table('options')) : undefined;
  return {
    name,
    type,
    path: absolute(table, 'runtime_path', ''),
    options: runc === undefined ? undefined : packAny(OptionsSchema, runc),
    systemdCgroup: runc?.systemdCgroup,
    snapshotter: table.string('snapshotter', ''),
    sandboxer: nonEmpty(table, 'sandboxer', 'podsandbox'),
    cniConfDir: absolute(table, 'cni_conf_dir', ''),
    cniMaxConfNum: atLeast(0, table, 'cni_max_conf_num', 0),
    spec: {
      podAnnotations: table.strings('pod_annotations', []),
      containerAnnotations: table.strings('container_annotations', []),
      privilegedWithoutHostDevices: table.boolean('privileged_without_host_devices', false),
      privilegedWithoutHostDevicesAllDevicesAllowed: table.boolean(
        'privileged_without_host_devices_all_devices_allowed',
        false,
      ),
      cgroupWritable: table.boolean('cgroup_writable', false),
    },
  };
}

const logLineBytes = 16 * 1024;

function readPods(table: ConfigTable): PodSettings {
  return {
    spec: {
      unsetSeccompProfile: table.string('unset_seccomp_profile', ''),
      tolerateMissingHugetlbController: table.boolean('tolerate_missing_hugetlb_controller', true),
      disableHugetlbController: table.boolean('disable_hugetlb_controller', true),
      disableCgroup: table.boolean('disable_cgroup', false),
      disableProcMount: table.boolean('disable_proc_mount', false),
      disableApparmor: table.boolean('disable_apparmor', false),
      restrictOomScoreAdj: table.boolean('restrict_oom_score_adj', false),
      ignoreImageDefinedVolumes: table.boolean('ignore_image_defined_volumes', false),
      deviceOwnershipFromSecurityContext: table.boolean('device_ownership_from_security_context', false),
      enableUnprivilegedPorts: table.boolean('enable_unprivileged_ports', true),
      enableUnprivilegedIcmp: table.boolean('enable_unprivileged_icmp', true),
      rdtEnabled: false,
      ignoreRdtNotEnabledErrors: table.boolean('ignore_rdt_not_enabled_errors', false),
      ignoreBlockioNotEnabledErrors: table.boolean('ignore_blockio_not_enabled_errors', false),
    },
    netnsUnderState: table.boolean('netns_mounts_under_state_dir', false),
    maxLogLineBytes: atLeast(1, table, 'max_container_log_line_size', logLineBytes),
    drainExecSyncMs: readTimeout(table, 'drain_exec_sync_io_timeout', 0),
  };
}

function readPodNetwork(table: ConfigTable): PodNetworkSettings {
  const preference = table.string('ip_pref', '') || 'ipv4';
  if (preference !== 'ipv4' && preference !== 'ipv6' && preference !== 'cni')
    throw table.wrong('ip_pref', `must be ipv4, ipv6 or cni, not ${JSON.stringify(preference)}`);
  return {
    setupSerially: table.boolean('setup_serially', false),
    ipPreference: preference,
    internalLoopback: table.boolean('use_internal_loopback', false),
    confTemplate: absolute(table, 'conf_template', ''),
  };
}

/** Keys are those of runc's options in containerd. */
const readRuncOptions = (table: ConfigTable) => ({
  binaryName: table.string('BinaryName', ''),
  root: absolute(table, 'Root', ''),
  criuImagePath: table.string('CriuImagePath', ''),
  criuWorkPath: table.string('CriuWorkPath', ''),
  ioUid: atLeast(0, table, 'IoUid', 0),
  ioGid: atLeast(0, table, 'IoGid', 0),
  noNewKeyring: table.boolean('NoNewKeyring', false),
  shimCgroup: table.string('ShimCgroup', ''),
  systemdCgroup: table.boolean('SystemdCgroup', false),
});

/** Where Debian and everybody else put the plugins. */
const cniBinDirs = ['/usr/lib/cni', '/opt/cni/bin'];

function readCni(table: ConfigTable): CniSettings {
  const confDir = absolute(table, 'conf_dir', '/etc/cni/net.d');
  if (confDir === '') throw table.wrong('conf_dir', 'must not be empty');
  const one = absolute(table, 'bin_dir', '');
  if (one !== '' && table.has('bin_dirs'))
    throw table.wrong('bin_dir', 'cannot be set beside bin_dirs: put it into that list');
  const binDirs = one === '' ? table.strings('bin_dirs', cniBinDirs) : [one];
  const relative = binDirs.find((folder) => !path.isAbsolute(folder));
  if (relative !== undefined)
    throw table.wrong('bin_dirs', `must be absolute paths, not ${JSON.stringify(relative)}`);
  return {
    confDir,
    binDirs,
    maxConfNum: atLeast(0, table, 'max_conf_num', 1),
  };
}

/** Of the service itself. The port is text, as in containerd. Errors: InvalidArgument. */
export function readCriStreaming(table: ConfigTable): StreamingServerOptions {
  const text = table.string('stream_server_port', '0');
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535))
    throw table.wrong('stream_server_port', `must be a port as text, not ${JSON.stringify(text)}`);
  return {
    host: table.string('stream_server_address', '127.0.0.1'),
    port,
    idleMs: readTimeout(table, 'stream_idle_timeout', limits.criStreamIdleMs),
  };
}

function nonEmpty(table: ConfigTable, key: string, fallback: string): string {
  const value = table.string(key, fallback);
  if (value === '') throw table.wrong(key, 'must be set');
  return value;
}

function absolute(table: ConfigTable, key: string, fallback: string): string {
  const value = table.string(key, fallback);
  if (value !== '' && !path.isAbsolute(value))
    throw table.wrong(key, `must be an absolute path, not ${JSON.stringify(value)}`);
  return value;
}

function atLeast(least: number, table: ConfigTable, key: string, fallback: number): number {
  const value = table.integer(key, fallback);
  if (value < least) throw table.wrong(key, `must be ${least} or more, not ${value}`);
  return value;
}

function readTimeout(table: ConfigTable, key: string, fallbackMs: number): number {
  const timeoutMs = table.durationMs(key, fallbackMs);
  if (timeoutMs < 0) throw table.wrong(key, 'must not be negative; "0s" is without a limit');
  return timeoutMs;
}

function readImage(table: ConfigTable, key: string, fallback: string): string {
  const image = table.string(key, fallback);
  try {
    return image === '' ? '' : parseImageText(image).text;
  } catch (error) {
    throw table.wrong(key, ContainerdError.from(error).message);
  }
}

/** Colon-separated. */
function readRoots(table: ConfigTable, key: string): string {
  const roots = table.string(key, '');
  const relative = roots.split(':').find((root) => root !== '' && !path.isAbsolute(root));
  if (relative !== undefined)
    throw table.wrong(key, `must be absolute paths with colons between, not ${JSON.stringify(roots)}`);
  return roots;
}
