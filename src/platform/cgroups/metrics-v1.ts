/**
 * Metrics of cgroup v1, with the field names of io.containerd.cgroups.v1.Metrics so that the wire takes them as they
 * are. Sources: Documentation/admin-guide/cgroup-v1. Network and task state counts are left out, as containerd does.
 */
import { readFileSync } from 'node:fs';
import {
  CgroupFolder,
  parseCount,
  parseFlatKeyed,
  parseRdma,
  type RdmaEntry,
  unlimited,
} from './cgroup-files.ts';

export interface MemoryEntry {
  readonly limit: bigint;
  readonly usage: bigint;
  readonly max: bigint;
  readonly failcnt: bigint;
}

/** Keys of memory.stat and the fields that they fill; each counts once for the cgroup and once with its children. */
const memoryFields = {
  cache: ['cache', 'totalCache'],
  rss: ['rss', 'totalRss'],
  rss_huge: ['rssHuge', 'totalRssHuge'],
  mapped_file: ['mappedFile', 'totalMappedFile'],
  dirty: ['dirty', 'totalDirty'],
  writeback: ['writeback', 'totalWriteback'],
  pgpgin: ['pgPgIn', 'totalPgPgIn'],
  pgpgout: ['pgPgOut', 'totalPgPgOut'],
  pgfault: ['pgFault', 'totalPgFault'],
  pgmajfault: ['pgMajFault', 'totalPgMajFault'],
  inactive_anon: ['inactiveAnon', 'totalInactiveAnon'],
  active_anon: ['activeAnon', 'totalActiveAnon'],
  inactive_file: ['inactiveFile', 'totalInactiveFile'],
  active_file: ['activeFile', 'totalActiveFile'],
  unevictable: ['unevictable', 'totalUnevictable'],
} as const;

type MemoryField = (typeof memoryFields)[keyof typeof memoryFields][number];

export type MemoryStat = Readonly<Record<MemoryField, bigint>> & {
  readonly hierarchicalMemoryLimit: bigint;
  readonly hierarchicalSwapLimit: bigint;
  readonly usage: MemoryEntry;
  readonly swap: MemoryEntry;
  readonly kernel: MemoryEntry;
  readonly kernelTcp: MemoryEntry;
};

export interface BlkIOEntry {
  readonly op: string;
  readonly device: string;
  readonly major: bigint;
  readonly minor: bigint;
  readonly value: bigint;
}

/** Fields of BlkIOStat and the files that fill them: of CFQ and BFQ, or else those of the throttling layer. */
const blkioFiles = {
  ioServiceBytesRecursive: 'io_service_bytes_recursive',
  ioServicedRecursive: 'io_serviced_recursive',
  ioQueuedRecursive: 'io_queued_recursive',
  ioServiceTimeRecursive: 'io_service_time_recursive',
  ioWaitTimeRecursive: 'io_wait_time_recursive',
  ioMergedRecursive: 'io_merged_recursive',
  ioTimeRecursive: 'time_recursive',
  sectorsRecursive: 'sectors_recursive',
} as const;

type BlkIOStat = Readonly<Record<keyof typeof blkioFiles, BlkIOEntry[]>>;

export interface CgroupV1Metrics {
  readonly hugetlb: {
    readonly usage: bigint;
    readonly max: bigint;
    readonly failcnt: bigint;
    readonly pagesize: string;
  }[];
  readonly pids?: { readonly current: bigint; readonly limit: bigint };
  readonly cpu?: {
    readonly usage?: {
      readonly total: bigint;
      readonly kernel: bigint;
      readonly user: bigint;
      readonly perCpu: bigint[];
    };
    readonly throttling?: {
      readonly periods: bigint;
      readonly throttledPeriods: bigint;
      readonly throttledTime: bigint;
    };
  };
  readonly memory?: MemoryStat;
  readonly memoryOomControl?: {
    readonly oomKillDisable: bigint;
    readonly underOom: bigint;
    readonly oomKill: bigint;
  };
  readonly blkio?: BlkIOStat;
  readonly rdma?: { readonly current: RdmaEntry[]; readonly limit: RdmaEntry[] };
}

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const nanosecondsPerTick = 10_000_000n;

function memoryEntry(folder: CgroupFolder, prefix: string): MemoryEntry {
  return {
    limit: folder.count(`${prefix}.limit_in_bytes`),
    usage: folder.count(`${prefix}.usage_in_bytes`),
    max: folder.count(`${prefix}.max_usage_in_bytes`),
    failcnt: folder.count(`${prefix}.failcnt`),
  };
}

function memoryOf(folder: CgroupFolder): MemoryStat {
  const stat = parseFlatKeyed(folder.read('memory.stat'));
  const counts = Object.fromEntries(
    Object.entries(memoryFields).flatMap(([key, [own, total]]) => [
      [own, stat.get(key) ?? 0n],
      [total, stat.get(`total_${key}`) ?? 0n],
    ]),
  ) as Record<MemoryField, bigint>;
  return {
    ...counts,
    hierarchicalMemoryLimit: stat.get('hierarchical_memory_limit') ?? 0n,
    hierarchicalSwapLimit: stat.get('hierarchical_memsw_limit') ?? 0n,
    usage: memoryEntry(folder, 'memory'),
    swap: memoryEntry(folder, 'memory.memsw'),
    kernel: memoryEntry(folder, 'memory.kmem'),
    kernelTcp: memoryEntry(folder, 'memory.kmem.tcp'),
  };
}

function oomControlOf(folder: CgroupFolder): NonNullable<CgroupV1Metrics['memoryOomControl']> {
  const control = parseFlatKeyed(folder.read('memory.oom_control'));
  return {
    oomKillDisable: control.get('oom_kill_disable') ?? 0n,
    underOom: control.get('under_oom') ?? 0n,
    oomKill: control.get('oom_kill') ?? 0n,
  };
}

function cpuUsageOf(folder: CgroupFolder): NonNullable<NonNullable<CgroupV1Metrics['cpu']>['usage']> {
  const ticks = parseFlatKeyed(folder.read('cpuacct.stat'));
  const perCpu = (folder.read('cpuacct.usage_percpu') ?? '').split(/\s+/).filter((text) => text !== '');
  return {
    total: folder.count('cpuacct.usage'),
    kernel: (ticks.get('system') ?? 0n) * nanosecondsPerTick,
    user: (ticks.get('user') ?? 0n) * nanosecondsPerTick,
    perCpu: perCpu.map(parseCount),
  };
}

function throttlingOf(folder: CgroupFolder): NonNullable<NonNullable<CgroupV1Metrics['cpu']>['throttling']> {
  const stat = parseFlatKeyed(folder.read('cpu.stat'));
  return {
    periods: stat.get('nr_periods') ?? 0n,
    throttledPeriods: stat.get('nr_throttled') ?? 0n,
    throttledTime: stat.get('throttled_time') ?? 0n,
  };
}

/** "8:0 Read 4096" and "8:0 4096" lines; the sum over all devices, "Total 4096", is left out. */
function parseBlkio(text: string | undefined, devices: ReadonlyMap<string, string>): BlkIOEntry[] {
  return (text ?? '').split('\n').flatMap((line) => {
    const match = /^(\d{1,10}):(\d{1,10})(?: ([A-Za-z]+))? (\d{1,20})$/.exec(line.trim());
    if (match === null) return [];
    const [, major = '', minor = '', op = '', value] = match;
    const device = devices.get(`${major}:${minor}`) ?? '';
    return [{ op, device, major: BigInt(major), minor: BigInt(minor), value: parseCount(value) }];
  });
}

/** Device files by "major:minor", from /proc/diskstats. */
export function parseDiskStats(text: string): ReadonlyMap<string, string> {
  const pairs = text.split('\n').flatMap((line): [string, string][] => {
    const [major, minor, name] = line.trim().split(/\s+/);
    return name === undefined ? [] : [[`${major}:${minor}`, `/dev/${name}`]];
  });
  return new Map(pairs);
}

function blkioOf(folder: CgroupFolder, devices: ReadonlyMap<string, string>): BlkIOStat {
  const entries = Object.entries(blkioFiles).map(([field, file]): [string, BlkIOEntry[]] => {
    const scheduled = parseBlkio(folder.read(`blkio.${file}`), devices);
    if (scheduled.length > 0) return [field, scheduled];
    const throttled =
      folder.read(`blkio.throttle.${file}`) ??
      folder.read(`blkio.throttle.${file.replace('_recursive', '')}`);
    return [field, parseBlkio(throttled, devices)];
  });
  return Object.fromEntries(entries) as unknown as BlkIOStat;
}

function diskDevices(): ReadonlyMap<string, string> {
  try {
    return parseDiskStats(readFileSync('/proc/diskstats', 'utf8'));
  } catch {
    // Names are a courtesy: numbers say which device it is.
    return new Map();
  }
}

function pidsOf(folder: CgroupFolder): NonNullable<CgroupV1Metrics['pids']> {
  const limit = folder.count('pids.max');
  return { current: folder.count('pids.current'), limit: limit === unlimited ? 0n : limit };
}

/** Metrics of a cgroup's controllers, by directory. A controller that is not mounted leaves its field out. */
export function readV1Metrics(
  controllers: ReadonlyMap<string, string>,
  devices: () => ReadonlyMap<string, string> = diskDevices,
): CgroupV1Metrics {
  const of = <Field>(controller: string, read: (folder: CgroupFolder) => Field): Field | undefined => {
    const path = controllers.get(controller);
    return path === undefined ? undefined : read(new CgroupFolder(path));
  };
  const usage = of('cpuacct', cpuUsageOf);
  const throttling = of('cpu', throttlingOf);
  const pids = of('pids', pidsOf);
  const memory = of('memory', memoryOf);
  const memoryOomControl = of('memory', oomControlOf);
  const blkio = of('blkio', (folder) => blkioOf(folder, devices()));
  const rdma = of('rdma', (folder) => ({
    current: parseRdma(folder.read('rdma.current')),
    limit: parseRdma(folder.read('rdma.max')),
  }));
  const hugetlb = of('hugetlb', (folder) =>
    folder.hugePageSizes('.usage_in_bytes').map((pagesize) => ({
      usage: folder.count(`hugetlb.${pagesize}.usage_in_bytes`),
      max: folder.count(`hugetlb.${pagesize}.max_usage_in_bytes`),
      failcnt: folder.count(`hugetlb.${pagesize}.failcnt`),
      pagesize,
    })),
  );
  const cpu = { ...(usage && { usage }), ...(throttling && { throttling }) };
  return {
    hugetlb: hugetlb ?? [],
    ...(pids && { pids }),
    ...((usage ?? throttling) && { cpu }),
    ...(memory && { memory }),
    ...(memoryOomControl && { memoryOomControl }),
    ...(blkio && { blkio }),
    ...(rdma && { rdma }),
  };
}
