/**
 * The series of the daemon itself: build, garbage collection, image transfers, and its process. What is of Go's runtime
 * in containerd (go_*) has no counterpart; the process_* names mean the same here.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Gauge, Registry } from 'prom-client';
import type { GcRun } from '../../core/gc/garbage-collector.ts';
import type { EndedTransfer } from '../../core/transfer/image-transfers.ts';
import type { PromClient } from './prom-client.ts';

export interface DaemonMetricsDependencies {
  readonly prom: PromClient;
  readonly registry: Registry;
}

/** Seconds: an image takes from a blink to minutes. */
const transferBuckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

export class DaemonMetrics {
  readonly #gcRun: (run: GcRun) => void;
  readonly #transferEnded: (transfer: EndedTransfer) => void;

  constructor(
    { prom, registry }: DaemonMetricsDependencies,
    { version, revision }: { readonly version: string; readonly revision: string },
  ) {
    const registers = [registry];
    const build = new prom.Counter({
      name: 'containerd_build_info_total',
      help: 'containerd build information',
      labelNames: ['revision', 'version'],
      registers,
    });
    build.inc({ revision, version });
    const collections = new prom.Counter({
      name: 'containerd_gc_collections_total',
      help: 'counter of gc runs by whether they succeeded',
      labelNames: ['status'],
      registers,
    });
    const seconds = new prom.Histogram({
      name: 'containerd_gc_gc_seconds',
      help: 'seconds that writers waited for gc',
      registers,
    });
    this.#gcRun = ({ pauseMs }) => {
      collections.inc({ status: pauseMs === undefined ? 'fail' : 'success' });
      if (pauseMs !== undefined) seconds.observe(pauseMs / 1000);
    };
    const transfers = new prom.Histogram({
      name: 'gantry_image_transfer_seconds',
      help: 'seconds of pulls, pushes, imports, exports and tags by whether they succeeded',
      labelNames: ['kind', 'status'],
      buckets: transferBuckets,
      registers,
    });
    this.#transferEnded = ({ kind, seconds: took, failed }) =>
      transfers.observe({ kind, status: failed ? 'fail' : 'success' }, took);
    registerProcess({ prom, registry });
  }

  transferEnded(transfer: EndedTransfer): void {
    this.#transferEnded(transfer);
  }

  gcRan(run: GcRun): void {
    this.#gcRun(run);
  }
}

function registerProcess({ prom, registry }: DaemonMetricsDependencies): void {
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new prom.Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  const cpu = new prom.Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers: [],
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  registry.registerMetric(cpu);
  gauge('process_resident_memory_bytes', 'Resident memory size in bytes.', () => process.memoryUsage.rss());
  gauge('process_virtual_memory_bytes', 'Virtual memory size in bytes.', () => statField(20));
  gauge('process_open_fds', 'Number of open file descriptors.', () => readdirSync('/proc/self/fd').length);
  gauge('process_max_fds', 'Maximum number of open file descriptors.', () => openFilesLimit());
  gauge(
    'process_start_time_seconds',
    'Start time of the process since unix epoch in seconds.',
    () => Date.now() / 1000 - process.uptime(),
  );
  gauge('nodejs_heap_size_used_bytes', 'JavaScript heap in use.', () => process.memoryUsage().heapUsed);
}

/** A field of proc_pid_stat(5) behind the command, counted from the state as 0. */
function statField(index: number): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[index]);
}

const openFilesLimit = (): number =>
  Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
