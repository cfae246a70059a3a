/** The series of a container under control groups of version 1, by containerd's names. */
import type {
  BlkIOEntry,
  BlkIOStat,
  HugetlbStat,
  MemoryEntry,
  MemoryStat,
  Metrics,
} from '../../wire/gen/containerd/cgroups/v1/metrics_pb.js';
import { type FieldOf, gauge, type NumberField, one, type Sample, type Series } from './series.ts';

/** Names by the kernel, fields by the wire. */
const memoryFields: Readonly<Record<string, NumberField<MemoryStat>>> = {
  rss: 'rss',
  rss_huge: 'rssHuge',
  cache: 'cache',
  mapped_file: 'mappedFile',
  dirty: 'dirty',
  writeback: 'writeback',
  pgpgin: 'pgPgIn',
  pgpgout: 'pgPgOut',
  pgfault: 'pgFault',
  pgmajfault: 'pgMajFault',
  inactive_anon: 'inactiveAnon',
  active_anon: 'activeAnon',
  inactive_file: 'inactiveFile',
  active_file: 'activeFile',
  unevictable: 'unevictable',
  hierarchical_memory_limit: 'hierarchicalMemoryLimit',
  hierarchical_memsw_limit: 'hierarchicalSwapLimit',
  total_cache: 'totalCache',
  total_rss: 'totalRss',
  total_rss_huge: 'totalRssHuge',
  total_mapped_file: 'totalMappedFile',
  total_dirty: 'totalDirty',
  total_writeback: 'totalWriteback',
  total_pgpgin: 'totalPgPgIn',
  total_pgpgout: 'totalPgPgOut',
  total_pgfault: 'totalPgFault',
  total_pgmajfault: 'totalPgMajFault',
  total_inactive_anon: 'totalInactiveAnon',
  total_active_anon: 'totalActiveAnon',
  total_inactive_file: 'totalInactiveFile',
  total_active_file: 'totalActiveFile',
  total_unevictable: 'totalUnevictable',
};

/** These four are what is used; the rest of the fields are amounts. */
const used: ReadonlySet<string> = new Set(['cache', 'rss', 'rss_huge', 'mapped_file']);
const isUsed = (name: string): boolean => used.has(name.replace(/^total_/, ''));

const memory = Object.entries(memoryFields).map(([name, field]) =>
  gauge<Metrics>(`memory_${name}_bytes`, `The ${name} amount${isUsed(name) ? ' used' : ''}`, (stats) =>
    one(stats.memory?.[field]),
  ),
);

const counters: readonly (readonly [string, string, 'usage' | 'swap' | 'kernel' | 'kernelTcp'])[] = [
  ['usage', 'memory', 'usage'],
  ['swap', 'swap', 'swap'],
  ['kernel', 'kernel', 'kernel'],
  ['kerneltcp', 'kerneltcp', 'kernelTcp'],
];

const memoryCounters = counters.flatMap(([name, word, field]) => {
  const of = (suffix: string, help: string, key: NumberField<MemoryEntry>): Series<Metrics> =>
    gauge(`memory_${name}_${suffix}`, help, (stats) => one(stats.memory?.[field]?.[key]));
  return [
    of('failcnt_total', `The ${name} failcnt`, 'failcnt'),
    of('limit_bytes', `The ${word} limit`, 'limit'),
    of('max_bytes', `The ${word} maximum usage`, 'max'),
    of('usage_bytes', `The ${word} usage`, 'usage'),
  ];
});

const cpu: readonly Series<Metrics>[] = [
  gauge('cpu_total_nanoseconds', 'The total cpu time', ({ cpu: stats }) => one(stats?.usage?.total)),
  gauge('cpu_kernel_nanoseconds', 'The total kernel cpu time', ({ cpu: stats }) => one(stats?.usage?.kernel)),
  gauge('cpu_user_nanoseconds', 'The total user cpu time', ({ cpu: stats }) => one(stats?.usage?.user)),
  gauge('per_cpu_nanoseconds', 'The total cpu time per cpu', ({ cpu: stats }) =>
    (stats?.usage?.perCpu ?? []).map((value, index) => ({ value, labels: { cpu: String(index) } })),
  ),
  gauge('cpu_throttle_periods_total', 'The total cpu throttle periods', ({ cpu: stats }) =>
    one(stats?.throttling?.periods),
  ),
  gauge('cpu_throttled_periods_total', 'The total cpu throttled periods', ({ cpu: stats }) =>
    one(stats?.throttling?.throttledPeriods),
  ),
  gauge('cpu_throttled_time_nanoseconds', 'The total cpu throttled time', ({ cpu: stats }) =>
    one(stats?.throttling?.throttledTime),
  ),
];

const pids: readonly Series<Metrics>[] = [
  gauge('pids_limit', 'The limit to the number of pids allowed', (stats) => one(stats.pids?.limit)),
  gauge('pids_current', 'The current number of pids', (stats) => one(stats.pids?.current)),
];

const perPage = (stats: readonly HugetlbStat[], key: NumberField<HugetlbStat>): readonly Sample[] =>
  stats.map((entry) => ({ value: entry[key], labels: { page: entry.pagesize } }));

const hugetlb: readonly Series<Metrics>[] = [
  gauge('hugetlb_usage_bytes', 'The hugetlb usage', (stats) => perPage(stats.hugetlb, 'usage')),
  gauge('hugetlb_failcnt_total', 'The hugetlb failcnt', (stats) => perPage(stats.hugetlb, 'failcnt')),
  gauge('hugetlb_max_bytes', 'The hugetlb maximum usage', (stats) => perPage(stats.hugetlb, 'max')),
];

type BlkIoLists = FieldOf<BlkIOStat, BlkIOEntry[]>;

const perDevice = (entries: readonly BlkIOEntry[]): readonly Sample[] =>
  entries.map(({ value, op, device, major, minor }) => ({
    value,
    labels: { op, device, major: String(major), minor: String(minor) },
  }));

const blkioFields: readonly (readonly [string, string, BlkIoLists])[] = [
  ['io_merged_recursive', 'total', 'ioMergedRecursive'],
  ['io_queued_recursive', 'total', 'ioQueuedRecursive'],
  ['io_service_bytes_recursive', 'bytes', 'ioServiceBytesRecursive'],
  ['io_service_time_recursive', 'total', 'ioServiceTimeRecursive'],
  ['io_serviced_recursive', 'total', 'ioServicedRecursive'],
  ['io_time_recursive', 'total', 'ioTimeRecursive'],
  ['sectors_recursive', 'total', 'sectorsRecursive'],
];

const blkio = blkioFields.map(([name, unit, field]) =>
  gauge<Metrics>(`blkio_${name}_${unit}`, `The blkio ${name.replaceAll('_', ' ')}`, (stats) =>
    perDevice(stats.blkio?.[field] ?? []),
  ),
);

export const seriesV1: readonly Series<Metrics>[] = [
  ...pids,
  ...hugetlb,
  ...cpu,
  ...memory,
  ...memoryCounters,
  ...blkio,
];
