/** The readers against files written as the kernel writes them; the last test reads the kernel's own. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { property, assert as propertyAssert, string } from 'fast-check';
import { hasCode } from '../../base/errors.ts';
import { parseCount, parseNestedKeyed, unlimited } from './cgroup-files.ts';
import { readCgroupMetrics } from './cgroup-metrics.ts';
import { cgroupOf } from './cgroup-paths.ts';
import { parseDiskStats, readV1Metrics } from './metrics-v1.ts';
import { readV2Metrics } from './metrics-v2.ts';

const root = mkdtempSync(join(tmpdir(), 'gantry-cgroups-'));
after(() => rmSync(root, { recursive: true }));

function folder(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  return path;
}

test('version 2 with every controller', () => {
  const pressure =
    'some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n';
  const metrics = readV2Metrics(
    folder('v2', {
      'cpu.stat':
        'usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 3\nnr_throttled 2\nthrottled_usec 9\nnr_bursts 1\nburst_usec 4\n',
      'cpu.pressure': pressure,
      'memory.stat':
        'anon 4096\nfile 8192\nkernel_stack 16384\nworkingset_refault 7\npgfault 18446744073709551615\n',
      'memory.current': '12288\n',
      'memory.max': 'max\n',
      'memory.peak': '20480\n',
      'memory.swap.current': '0\n',
      'memory.swap.max': '1048576\n',
      'memory.pressure': pressure,
      'memory.events': 'low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n',
      'pids.current': '12\n',
      'pids.max': 'max\n',
      'io.stat':
        '8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:0 \n253:1 rbytes=9 wbytes=0 rios=1 wios=0\n',
      'rdma.current': 'mlx4_0 hca_handle=2 hca_object=2000\n',
      'rdma.max': 'mlx4_0 hca_handle=max hca_object=max\n',
      'hugetlb.2MB.current': '2097152\n',
      'hugetlb.2MB.max': 'max\n',
      'hugetlb.2MB.events': 'max 6\n',
      'hugetlb.2MB.rsvd.current': '0\n',
    }),
  );
  const some = { avg10: 1.5, avg60: 0.25, avg300: 0, total: 1234n };
  const psi = { some, full: { avg10: 0, avg60: 0, avg300: 0, total: 5n } };
  assert.deepEqual(metrics.cpu, {
    usageUsec: 100n,
    userUsec: 60n,
    systemUsec: 40n,
    nrPeriods: 3n,
    nrThrottled: 2n,
    throttledUsec: 9n,
    nrBursts: 1n,
    burstUsec: 4n,
    psi,
  });
  assert.deepEqual(metrics.pids, { current: 12n, limit: unlimited });
  const { memory } = metrics;
  assert.deepEqual(
    [
      memory?.anon,
      memory?.file,
      memory?.kernelStack,
      memory?.workingsetRefault,
      memory?.pgfault,
      memory?.slab,
    ],
    [4096n, 8192n, 16_384n, 7n, unlimited, 0n],
  );
  assert.deepEqual(
    [memory?.usage, memory?.usageLimit, memory?.maxUsage, memory?.swapUsage, memory?.swapLimit],
    [12_288n, unlimited, 20_480n, 0n, 1_048_576n],
  );
  assert.deepEqual(memory?.psi, psi);
  assert.deepEqual(metrics.memoryEvents, {
    low: 0n,
    high: 1n,
    max: 2n,
    oom: 3n,
    oomKill: 4n,
    oomGroupKill: 5n,
  });
  assert.deepEqual(metrics.io, {
    usage: [
      { major: 8n, minor: 16n, rbytes: 1n, wbytes: 2n, rios: 3n, wios: 4n },
      { major: 253n, minor: 1n, rbytes: 9n, wbytes: 0n, rios: 1n, wios: 0n },
    ],
  });
  assert.deepEqual(metrics.rdma, {
    current: [{ device: 'mlx4_0', hcaHandles: 2, hcaObjects: 2000 }],
    limit: [{ device: 'mlx4_0', hcaHandles: 0xffff_ffff, hcaObjects: 0xffff_ffff }],
  });
  assert.deepEqual(metrics.hugetlb, [{ current: 2_097_152n, max: unlimited, pagesize: '2MB', failcnt: 6n }]);
});

test('version 2 leaves out controllers that are not enabled', () => {
  const metrics = readV2Metrics(folder('v2-bare', { 'cpu.stat': 'usage_usec 5\n' }));
  assert.equal(metrics.cpu.usageUsec, 5n);
  assert.deepEqual(Object.keys(metrics).sort(), ['cpu', 'hugetlb']);
});

test('version 1', () => {
  const controllers = new Map([
    [
      'memory',
      folder('memory', {
        'memory.stat':
          'cache 1\nrss 2\npgpgin 3\npgmajfault 4\nhierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 8\ntotal_cache 11\ntotal_rss 12\ntotal_pgpgin 13\n',
        'memory.usage_in_bytes': '100\n',
        'memory.limit_in_bytes': '200\n',
        'memory.max_usage_in_bytes': '150\n',
        'memory.failcnt': '6\n',
        'memory.oom_control': 'oom_kill_disable 0\nunder_oom 1\noom_kill 2\n',
      }),
    ],
    ['pids', folder('pids', { 'pids.current': '3\n', 'pids.max': 'max\n' })],
    ['cpu', folder('cpu', { 'cpu.stat': 'nr_periods 1\nnr_throttled 2\nthrottled_time 3\n' })],
    [
      'cpuacct',
      folder('cpuacct', {
        'cpuacct.usage': '4242\n',
        'cpuacct.stat': 'user 5\nsystem 7\n',
        'cpuacct.usage_percpu': '4000 242 \n',
      }),
    ],
    [
      'blkio',
      folder('blkio', {
        'blkio.throttle.io_service_bytes_recursive': '8:0 Read 10\n8:0 Write 20\nTotal 30\n',
        'blkio.io_serviced_recursive': '8:0 Read 1\n',
        'blkio.throttle.io_serviced_recursive': '8:0 Read 99\n',
        'blkio.sectors_recursive': '8:0 77\n',
      }),
    ],
  ]);
  const metrics = readV1Metrics(controllers, () => parseDiskStats('   8       0 sda 1 2 3\n'));
  assert.deepEqual(metrics.cpu, {
    usage: { total: 4242n, kernel: 70_000_000n, user: 50_000_000n, perCpu: [4000n, 242n] },
    throttling: { periods: 1n, throttledPeriods: 2n, throttledTime: 3n },
  });
  assert.deepEqual(metrics.pids, { current: 3n, limit: 0n });
  const { memory } = metrics;
  assert.deepEqual(
    [memory?.cache, memory?.totalCache, memory?.pgPgIn, memory?.totalPgPgIn, memory?.pgMajFault],
    [1n, 11n, 3n, 13n, 4n],
  );
  assert.deepEqual(
    [memory?.hierarchicalMemoryLimit, memory?.hierarchicalSwapLimit],
    [9_223_372_036_854_771_712n, 8n],
  );
  assert.deepEqual(memory?.usage, { limit: 200n, usage: 100n, max: 150n, failcnt: 6n });
  assert.deepEqual(memory?.swap, { limit: 0n, usage: 0n, max: 0n, failcnt: 0n });
  assert.deepEqual(metrics.memoryOomControl, { oomKillDisable: 0n, underOom: 1n, oomKill: 2n });
  const disk = { device: '/dev/sda', major: 8n, minor: 0n };
  assert.deepEqual(metrics.blkio?.ioServiceBytesRecursive, [
    { ...disk, op: 'Read', value: 10n },
    { ...disk, op: 'Write', value: 20n },
  ]);
  assert.deepEqual(metrics.blkio.ioServicedRecursive, [{ ...disk, op: 'Read', value: 1n }]);
  assert.deepEqual(metrics.blkio.sectorsRecursive, [{ ...disk, op: '', value: 77n }]);
});

test('numbers never throw and stay within 64 bits', () => {
  assert.deepEqual(['7\n', 'max', '-1', 'x', '', undefined].map(parseCount), [7n, unlimited, 0n, 0n, 0n, 0n]);
  propertyAssert(property(string(), (text) => parseCount(text) >= 0n && parseCount(text) <= unlimited));
  propertyAssert(property(string(), (text) => Array.isArray(parseNestedKeyed(text))));
});

test('our own cgroup has used something; one that is gone is NotFound', () => {
  const result = readCgroupMetrics(cgroupOf(process.pid));
  const used = result.version === 1 ? result.metrics.cpu?.usage?.total : result.metrics.cpu.usageUsec;
  assert.ok(used !== undefined && used > 0n);
  assert.throws(
    () => readCgroupMetrics({ version: 2, path: join(root, 'gone') }),
    (error) => hasCode(error, 'NotFound'),
  );
});
