/** The series of a container under control groups of version 2, by containerd's names. */
import type { IOEntry, MemoryStat, Metrics } from '../../wire/gen/containerd/cgroups/v2/metrics_pb.js';
import { gauge, type NumberField, one, type Sample, type Series } from './series.ts';

const pids: readonly Series<Metrics>[] = [
  gauge('pids_current', 'The current number of pids (cgroup v2)', (stats) => one(stats.pids?.current)),
  gauge('pids_limit', 'The limit to the number of pids allowed (cgroup v2)', (stats) =>
    one(stats.pids?.limit),
  ),
];

const ifControlled = '(only if controller is enabled)';
const cpu: readonly Series<Metrics>[] = [
  gauge('cpu_usage_usec_microseconds', 'Total cpu usage (cgroup v2)', (stats) => one(stats.cpu?.usageUsec)),
  gauge('cpu_user_usec_microseconds', 'Current cpu usage in user space (cgroup v2)', (stats) =>
    one(stats.cpu?.userUsec),
  ),
  gauge('cpu_system_usec_microseconds', 'Current cpu usage in kernel space (cgroup v2)', (stats) =>
    one(stats.cpu?.systemUsec),
  ),
  gauge('cpu_nr_periods_total', `Current cpu number of periods ${ifControlled}`, (stats) =>
    one(stats.cpu?.nrPeriods),
  ),
  gauge(
    'cpu_nr_throttled_total',
    `Total number of times tasks have been throttled ${ifControlled}`,
    (stats) => one(stats.cpu?.nrThrottled),
  ),
  gauge(
    'cpu_throttled_usec_microseconds',
    `Total time duration for which tasks have been throttled. ${ifControlled}`,
    (stats) => one(stats.cpu?.throttledUsec),
  ),
];

/** Names by the kernel, fields by the wire. */
const amounts: Readonly<Record<string, NumberField<MemoryStat>>> = {
  file_mapped: 'fileMapped',
  file_dirty: 'fileDirty',
  file_writeback: 'fileWriteback',
  pgactivate: 'pgactivate',
  pgdeactivate: 'pgdeactivate',
  pgfault: 'pgfault',
  pgmajfault: 'pgmajfault',
  pglazyfree: 'pglazyfree',
  pgrefill: 'pgrefill',
  pglazyfreed: 'pglazyfreed',
  pgscan: 'pgscan',
  pgsteal: 'pgsteal',
  inactive_anon: 'inactiveAnon',
  active_anon: 'activeAnon',
  inactive_file: 'inactiveFile',
  active_file: 'activeFile',
  unevictable: 'unevictable',
  anon: 'anon',
  file: 'file',
  kernel_stack: 'kernelStack',
  slab: 'slab',
  sock: 'sock',
  shmem: 'shmem',
  anon_thp: 'anonThp',
  slab_reclaimable: 'slabReclaimable',
  slab_unreclaimable: 'slabUnreclaimable',
  workingset_refault: 'workingsetRefault',
  workingset_activate: 'workingsetActivate',
  workingset_nodereclaim: 'workingsetNodereclaim',
  thp_fault_alloc: 'thpFaultAlloc',
  thp_collapse_alloc: 'thpCollapseAlloc',
};

const memory: readonly Series<Metrics>[] = [
  gauge('memory_usage_bytes', 'Current memory usage (cgroup v2)', (stats) => one(stats.memory?.usage)),
  gauge('memory_usage_limit_bytes', 'Current memory usage limit (cgroup v2)', (stats) =>
    one(stats.memory?.usageLimit),
  ),
  gauge('memory_swap_usage_bytes', 'Current swap usage (cgroup v2)', (stats) => one(stats.memory?.swapUsage)),
  gauge('memory_swap_limit_bytes', 'Current swap usage limit (cgroup v2)', (stats) =>
    one(stats.memory?.swapLimit),
  ),
  ...Object.entries(amounts).map(([name, field]) =>
    gauge<Metrics>(`memory_${name}_bytes`, `The ${name} amount`, (stats) => one(stats.memory?.[field])),
  ),
  gauge('memory_oom_total', 'The number of times a container has received an oom event', (stats) =>
    one(stats.memoryEvents?.oom),
  ),
];

const perDevice = (entries: readonly IOEntry[], key: NumberField<IOEntry>): readonly Sample[] =>
  entries.map((entry) => ({
    value: entry[key],
    labels: { major: String(entry.major), minor: String(entry.minor) },
  }));

const io: readonly Series<Metrics>[] = [
  gauge('io_rbytes_bytes', 'IO bytes read', (stats) => perDevice(stats.io?.usage ?? [], 'rbytes')),
  gauge('io_wbytes_bytes', 'IO bytes written', (stats) => perDevice(stats.io?.usage ?? [], 'wbytes')),
  gauge('io_rios_total', 'Number of read IOs', (stats) => perDevice(stats.io?.usage ?? [], 'rios')),
  gauge('io_wios_total', 'Number of write IOs', (stats) => perDevice(stats.io?.usage ?? [], 'wios')),
];

export const seriesV2: readonly Series<Metrics>[] = [...pids, ...cpu, ...memory, ...io];
