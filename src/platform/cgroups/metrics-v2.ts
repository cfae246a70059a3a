/**
 * Metrics of cgroup v2, with the field names of io.containerd.cgroups.v2.Metrics so that the wire takes them as they
 * are. Source: Documentation/admin-guide/cgroup-v2. Network is left out, as containerd does.
 */
import {
  CgroupFolder,
  parseCount,
  parseFlatKeyed,
  parseNestedKeyed,
  parseRdma,
  type RdmaEntry,
} from './cgroup-files.ts';

export interface PsiData {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly total: bigint;
}

export interface PsiStats {
  readonly some?: PsiData;
  readonly full?: PsiData;
}

const cpuFields = {
  usageUsec: 'usage_usec',
  userUsec: 'user_usec',
  systemUsec: 'system_usec',
  nrPeriods: 'nr_periods',
  nrThrottled: 'nr_throttled',
  throttledUsec: 'throttled_usec',
  nrBursts: 'nr_bursts',
  burstUsec: 'burst_usec',
} as const;

const memoryStatFields = {
  anon: 'anon',
  file: 'file',
  kernelStack: 'kernel_stack',
  slab: 'slab',
  sock: 'sock',
  shmem: 'shmem',
  fileMapped: 'file_mapped',
  fileDirty: 'file_dirty',
  fileWriteback: 'file_writeback',
  anonThp: 'anon_thp',
  inactiveAnon: 'inactive_anon',
  activeAnon: 'active_anon',
  inactiveFile: 'inactive_file',
  activeFile: 'active_file',
  unevictable: 'unevictable',
  slabReclaimable: 'slab_reclaimable',
  slabUnreclaimable: 'slab_unreclaimable',
  pgfault: 'pgfault',
  pgmajfault: 'pgmajfault',
  workingsetRefault: 'workingset_refault',
  workingsetActivate: 'workingset_activate',
  workingsetNodereclaim: 'workingset_nodereclaim',
  pgrefill: 'pgrefill',
  pgscan: 'pgscan',
  pgsteal: 'pgsteal',
  pgactivate: 'pgactivate',
  pgdeactivate: 'pgdeactivate',
  pglazyfree: 'pglazyfree',
  pglazyfreed: 'pglazyfreed',
  thpFaultAlloc: 'thp_fault_alloc',
  thpCollapseAlloc: 'thp_collapse_alloc',
} as const;

const memoryFiles = {
  usage: 'memory.current',
  usageLimit: 'memory.max',
  swapUsage: 'memory.swap.current',
  swapLimit: 'memory.swap.max',
  maxUsage: 'memory.peak',
  swapMaxUsage: 'memory.swap.peak',
} as const;

const memoryEventFields = {
  low: 'low',
  high: 'high',
  max: 'max',
  oom: 'oom',
  oomKill: 'oom_kill',
  oomGroupKill: 'oom_group_kill',
} as const;

type Counts<Fields> = Readonly<Record<keyof Fields, bigint>>;

export interface IoEntry {
  readonly major: bigint;
  readonly minor: bigint;
  readonly rbytes: bigint;
  readonly wbytes: bigint;
  readonly rios: bigint;
  readonly wios: bigint;
}

export interface CgroupV2Metrics {
  readonly pids?: { readonly current: bigint; readonly limit: bigint };
  readonly cpu: Counts<typeof cpuFields> & { readonly psi?: PsiStats };
  readonly memory?: Counts<typeof memoryStatFields> &
    Counts<typeof memoryFiles> & { readonly psi?: PsiStats };
  readonly rdma?: { readonly current: RdmaEntry[]; readonly limit: RdmaEntry[] };
  readonly io?: { readonly usage: IoEntry[]; readonly psi?: PsiStats };
  readonly hugetlb: {
    readonly current: bigint;
    readonly max: bigint;
    readonly pagesize: string;
    readonly failcnt: bigint;
  }[];
  readonly memoryEvents?: Counts<typeof memoryEventFields>;
}

function pick<Fields extends Readonly<Record<string, string>>>(
  fields: Fields,
  valueOf: (key: string) => bigint,
): Counts<Fields> {
  return Object.fromEntries(
    Object.entries(fields).map(([field, key]) => [field, valueOf(key)]),
  ) as Counts<Fields>;
}

/** Pressure stall information; undefined where the kernel has none (CONFIG_PSI, psi=0). */
function parsePsi(text: string | undefined): PsiStats | undefined {
  const lines = parseNestedKeyed(text).filter(({ name }) => name === 'some' || name === 'full');
  if (lines.length === 0) return undefined;
  const average = (value: string | undefined): number => {
    const parsed = Number.parseFloat(value ?? '');
    return Number.isFinite(parsed) ? parsed : 0;
  };
  return Object.fromEntries(
    lines.map(({ name, values }) => [
      name,
      {
        avg10: average(values.get('avg10')),
        avg60: average(values.get('avg60')),
        avg300: average(values.get('avg300')),
        total: parseCount(values.get('total')),
      },
    ]),
  );
}

/** Lines of io.stat; devices without any number yet are left out. */
function parseIoStat(text: string | undefined): IoEntry[] {
  return parseNestedKeyed(text).flatMap(({ name, values }) => {
    const [, major, minor] = /^(\d{1,10}):(\d{1,10})$/.exec(name) ?? [];
    if (major === undefined || minor === undefined || values.size === 0) return [];
    return [
      {
        major: BigInt(major),
        minor: BigInt(minor),
        rbytes: parseCount(values.get('rbytes')),
        wbytes: parseCount(values.get('wbytes')),
        rios: parseCount(values.get('rios')),
        wios: parseCount(values.get('wios')),
      },
    ];
  });
}

function memoryOf(folder: CgroupFolder): CgroupV2Metrics['memory'] {
  const text = folder.read('memory.stat');
  if (text === undefined) return undefined;
  const stat = parseFlatKeyed(text);
  const psi = parsePsi(folder.read('memory.pressure'));
  return {
    ...pick(memoryStatFields, (key) => stat.get(key) ?? 0n),
    ...pick(memoryFiles, (file) => folder.count(file)),
    ...(psi && { psi }),
  };
}

function memoryEventsOf(folder: CgroupFolder): CgroupV2Metrics['memoryEvents'] {
  const text = folder.read('memory.events');
  if (text === undefined) return undefined;
  const events = parseFlatKeyed(text);
  return pick(memoryEventFields, (key) => events.get(key) ?? 0n);
}

function ioOf(folder: CgroupFolder): CgroupV2Metrics['io'] {
  const text = folder.read('io.stat');
  if (text === undefined) return undefined;
  const psi = parsePsi(folder.read('io.pressure'));
  return { usage: parseIoStat(text), ...(psi && { psi }) };
}

function rdmaOf(folder: CgroupFolder): CgroupV2Metrics['rdma'] {
  const current = folder.read('rdma.current');
  if (current === undefined) return undefined;
  return { current: parseRdma(current), limit: parseRdma(folder.read('rdma.max')) };
}

/** Metrics of the cgroup at `path`. A controller that is not enabled there leaves its field out. */
export function readV2Metrics(path: string): CgroupV2Metrics {
  const folder = new CgroupFolder(path);
  const cpuStat = parseFlatKeyed(folder.read('cpu.stat'));
  const cpuPsi = parsePsi(folder.read('cpu.pressure'));
  const pidsCurrent = folder.read('pids.current');
  const memory = memoryOf(folder);
  const memoryEvents = memoryEventsOf(folder);
  const io = ioOf(folder);
  const rdma = rdmaOf(folder);
  return {
    ...(pidsCurrent !== undefined && {
      pids: { current: parseCount(pidsCurrent), limit: folder.count('pids.max') },
    }),
    cpu: { ...pick(cpuFields, (key) => cpuStat.get(key) ?? 0n), ...(cpuPsi && { psi: cpuPsi }) },
    ...(memory && { memory }),
    ...(rdma && { rdma }),
    ...(io && { io }),
    hugetlb: folder.hugePageSizes('.current').map((pagesize) => ({
      current: folder.count(`hugetlb.${pagesize}.current`),
      max: folder.count(`hugetlb.${pagesize}.max`),
      pagesize,
      failcnt: parseFlatKeyed(folder.read(`hugetlb.${pagesize}.events`)).get('max') ?? 0n,
    })),
    ...(memoryEvents && { memoryEvents }),
  };
}
