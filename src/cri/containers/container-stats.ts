/**
 * ContainerStats, ListContainerStats and the same for pods: what the cgroups of all tasks say, asked in one pass however
 * many there are. What a container has written is measured every few seconds at most, because that is a walk.
 *
 * `usage_nano_cores` is over the time since the last question, a second at least; the first one has none. Differs from
 * containerd: a pod's figures are the sums of its containers and its own process.
 */
import { readFileSync } from 'node:fs';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Context, NamespacedContext } from '../../base/context.ts';
import { hasCode, notFound } from '../../base/errors.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import type { TaskMetric } from '../../core/runtime/task-manager.ts';
import type { SnapshotUsage } from '../../core/snapshots/snapshotter.ts';
import { typeNameOf, unpackAny } from '../../wire/any.ts';
import { MetricsSchema as MetricsV1Schema } from '../../wire/gen/containerd/cgroups/v1/metrics_pb.js';
import { MetricsSchema as MetricsV2Schema } from '../../wire/gen/containerd/cgroups/v2/metrics_pb.js';
import { ContainerState } from '../../wire/gen/runtime/v1/container_pb.js';
import type {
  ContainerStatsFilter,
  ContainerStatsSchema,
  NetworkUsageSchema,
  PodSandboxStatsFilter,
  PodSandboxStatsSchema,
} from '../../wire/gen/runtime/v1/stats_pb.js';
import { inCri } from '../cri-context.ts';
import type { Pod } from '../pods/pod.ts';
import { type CriWorld, containersOf, requireContainer, requirePod } from '../pods/world.ts';
import { type CriContainer, stateOf } from './container.ts';
import { hasLabels } from './container-status.ts';

type ContainerStatsMessage = MessageInitShape<typeof ContainerStatsSchema>;
type PodStatsMessage = MessageInitShape<typeof PodSandboxStatsSchema>;

const layerEveryNs = 10_000_000_000n;
const rateOverNs = 1_000_000_000n;

interface Figures {
  readonly cpuNs: bigint;
  readonly usageBytes: bigint;
  readonly inactiveBytes: bigint;
  readonly limitBytes: bigint;
  readonly rssBytes: bigint;
  readonly faults: bigint;
  readonly majorFaults: bigint;
  readonly processes: bigint;
}

interface Rate {
  readonly atNs: bigint;
  readonly cpuNs: bigint;
  readonly nanoCores: bigint | undefined;
}

export class StatsReader {
  readonly #world: CriWorld;
  readonly #rates = new Map<string, Rate>();
  readonly #layers = new Map<string, { readonly atNs: bigint; readonly usage: SnapshotUsage }>();

  constructor(world: CriWorld) {
    this.#world = world;
  }

  /** Errors: NotFound. */
  async container(context: Context, text: string): Promise<ContainerStatsMessage> {
    const container = requireContainer(this.#world, text);
    const ctx = inCri(context);
    const figures = await this.#measure(ctx, [`id==${container.id}`]);
    return this.#containerMessage(ctx, container, figures.get(container.id));
  }

  /** Of those that run. */
  async containers(
    context: Context,
    filter: ContainerStatsFilter | undefined,
  ): Promise<ContainerStatsMessage[]> {
    const ctx = inCri(context);
    const figures = await this.#measure(ctx, []);
    const { id = '', podSandboxId = '', labelSelector = {} } = filter ?? {};
    const wanted = this.#world.containers
      .list()
      .filter(
        (container) =>
          stateOf(container.progress) === ContainerState.CONTAINER_RUNNING &&
          (id === '' || this.#world.containers.find(id) === container) &&
          (podSandboxId === '' || this.#world.pods.find(podSandboxId)?.id === container.record.podId) &&
          hasLabels(container.record.config.labels, labelSelector),
      );
    return Promise.all(
      wanted.map((container) => this.#containerMessage(ctx, container, figures.get(container.id))),
    );
  }

  /** Errors: NotFound. */
  async pod(context: Context, text: string): Promise<PodStatsMessage> {
    const pod = requirePod(this.#world, text);
    if (!pod.ready) throw notFound('running sandbox', pod.id);
    const ctx = inCri(context);
    return this.#podMessage(ctx, pod, await this.#measure(ctx, []));
  }

  /** Of those that are ready. */
  async pods(context: Context, filter: PodSandboxStatsFilter | undefined): Promise<PodStatsMessage[]> {
    const ctx = inCri(context);
    const figures = await this.#measure(ctx, []);
    const { id = '', labelSelector = {} } = filter ?? {};
    const wanted = this.#world.pods
      .list()
      .filter(
        (pod) =>
          pod.ready &&
          (id === '' || this.#world.pods.find(id) === pod) &&
          hasLabels(pod.record.config.labels, labelSelector),
      );
    return Promise.all(wanted.map((pod) => this.#podMessage(ctx, pod, figures)));
  }

  async #measure(ctx: NamespacedContext, filters: readonly string[]): Promise<ReadonlyMap<string, Figures>> {
    const measured = new Map<string, Figures>();
    for (const metric of await this.#world.tasks.metrics(ctx, filters)) {
      const figures = figuresOf(metric);
      if (figures !== undefined) measured.set(metric.id, figures);
    }
    return measured;
  }

  async #containerMessage(
    ctx: NamespacedContext,
    { id, record }: CriContainer,
    figures: Figures | undefined,
  ): Promise<ContainerStatsMessage> {
    const { metadata, labels, annotations } = record.config;
    const layer = await this.#layer(ctx, id);
    return {
      attributes: { id, ...(metadata && { metadata }), labels, annotations },
      ...(figures && this.#usage(id, figures)),
      ...(layer && {
        writableLayer: {
          timestamp: layer.atNs,
          fsId: { mountpoint: this.#world.snapshotterRoot(this.#snapshotterOf(record.podId)) },
          usedBytes: { value: BigInt(layer.usage.sizeBytes) },
          inodesUsed: { value: BigInt(layer.usage.inodes) },
        },
      }),
    };
  }

  async #podMessage(
    ctx: NamespacedContext,
    pod: Pod,
    measured: ReadonlyMap<string, Figures>,
  ): Promise<PodStatsMessage> {
    const { metadata, labels, annotations } = pod.record.config;
    const running = containersOf(this.#world, pod.id).filter(({ id }) => measured.has(id));
    const parts = [pod.id, ...running.map(({ id }) => id)].flatMap((id) => measured.get(id) ?? []);
    const total = parts.reduce(sum, nothing);
    const network = networkOf(pod);
    return {
      attributes: { id: pod.id, ...(metadata && { metadata }), labels, annotations },
      linux: {
        ...this.#usage(`pod ${pod.id}`, total),
        process: { timestamp: now(), processCount: { value: total.processes } },
        ...(network && { network }),
        containers: await Promise.all(
          running.map((container) => this.#containerMessage(ctx, container, measured.get(container.id))),
        ),
      },
    };
  }

  #usage(key: string, figures: Figures): Pick<ContainerStatsMessage, 'cpu' | 'memory'> {
    const timestamp = now();
    const { cpuNs, usageBytes, inactiveBytes, limitBytes, rssBytes, faults, majorFaults } = figures;
    const workingSet = usageBytes > inactiveBytes ? usageBytes - inactiveBytes : 0n;
    const nanoCores = this.#nanoCores(key, timestamp, cpuNs);
    // Without a limit, the kernel says a number near 2^63.
    const limited = limitBytes > 0n && limitBytes < 2n ** 60n && limitBytes > workingSet;
    return {
      cpu: {
        timestamp,
        usageCoreNanoSeconds: { value: cpuNs },
        ...(nanoCores !== undefined && { usageNanoCores: { value: nanoCores } }),
      },
      memory: {
        timestamp,
        usageBytes: { value: usageBytes },
        workingSetBytes: { value: workingSet },
        ...(limited && { availableBytes: { value: limitBytes - workingSet } }),
        rssBytes: { value: rssBytes },
        pageFaults: { value: faults },
        majorPageFaults: { value: majorFaults },
      },
    };
  }

  #nanoCores(key: string, atNs: bigint, cpuNs: bigint): bigint | undefined {
    const last = this.#rates.get(key);
    if (last !== undefined && atNs - last.atNs < rateOverNs) return last.nanoCores;
    const nanoCores =
      last === undefined || cpuNs < last.cpuNs
        ? undefined
        : ((cpuNs - last.cpuNs) * 1_000_000_000n) / (atNs - last.atNs);
    this.#rates.set(key, { atNs, cpuNs, nanoCores });
    return nanoCores;
  }

  /** Forgets what is gone, too. */
  async #layer(
    ctx: NamespacedContext,
    id: CriContainer['id'],
  ): Promise<{ atNs: bigint; usage: SnapshotUsage } | undefined> {
    const last = this.#layers.get(id);
    const atNs = now();
    if (last !== undefined && atNs - last.atNs < layerEveryNs) return last;
    for (const known of this.#layers.keys())
      if (this.#world.containers.find(known) === undefined) this.#layers.delete(known);
    for (const known of this.#rates.keys())
      if (this.#world.containers.find(known) === undefined && !known.startsWith('pod '))
        this.#rates.delete(known);
    const podId = this.#world.containers.find(id)?.record.podId ?? '';
    try {
      const snapshotter = this.#world.snapshotter(this.#snapshotterOf(podId));
      const measured = { atNs, usage: await snapshotter.usage(ctx, parseSnapshotKey(id)) };
      this.#layers.set(id, measured);
      return measured;
    } catch (error) {
      if (hasCode(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  #snapshotterOf(podId: string): string {
    return this.#world.snapshotterOf(this.#world.pods.find(podId)?.record.handler ?? '');
  }
}

const nothing: Figures = {
  cpuNs: 0n,
  usageBytes: 0n,
  inactiveBytes: 0n,
  limitBytes: 0n,
  rssBytes: 0n,
  faults: 0n,
  majorFaults: 0n,
  processes: 0n,
};

/** Limits do not add up: a pod's is its cgroup parent's, which is the kubelet's. */
const sum = (a: Figures, b: Figures): Figures => ({
  cpuNs: a.cpuNs + b.cpuNs,
  usageBytes: a.usageBytes + b.usageBytes,
  inactiveBytes: a.inactiveBytes + b.inactiveBytes,
  limitBytes: 0n,
  rssBytes: a.rssBytes + b.rssBytes,
  faults: a.faults + b.faults,
  majorFaults: a.majorFaults + b.majorFaults,
  processes: a.processes + b.processes,
});

/** Undefined for a form that is a foreign shim's own. */
function figuresOf({ data }: TaskMetric): Figures | undefined {
  const type = typeNameOf(data);
  if (type === MetricsV2Schema.typeName) {
    const { cpu, memory, pids } = unpackAny(MetricsV2Schema, data);
    return {
      cpuNs: (cpu?.usageUsec ?? 0n) * 1000n,
      usageBytes: memory?.usage ?? 0n,
      inactiveBytes: memory?.inactiveFile ?? 0n,
      limitBytes: memory?.usageLimit ?? 0n,
      rssBytes: memory?.anon ?? 0n,
      faults: memory?.pgfault ?? 0n,
      majorFaults: memory?.pgmajfault ?? 0n,
      processes: pids?.current ?? 0n,
    };
  }
  if (type !== MetricsV1Schema.typeName) return undefined;
  const { cpu, memory, pids } = unpackAny(MetricsV1Schema, data);
  return {
    cpuNs: cpu?.usage?.total ?? 0n,
    usageBytes: memory?.usage?.usage ?? 0n,
    inactiveBytes: memory?.totalInactiveFile ?? 0n,
    limitBytes: memory?.usage?.limit ?? 0n,
    rssBytes: memory?.totalRss ?? 0n,
    faults: memory?.totalPgFault ?? 0n,
    majorFaults: memory?.totalPgMajFault ?? 0n,
    processes: pids?.current ?? 0n,
  };
}

/** proc_pid_net(5): bytes and errors of each interface but lo; undefined in the host's network. */
function networkOf({ record, pid }: Pod): MessageInitShape<typeof NetworkUsageSchema> | undefined {
  if (record.netns === '' || pid === 0) return undefined;
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/net/dev`, 'utf8');
  } catch {
    return undefined;
  }
  const interfaces = text.split('\n').flatMap((line) => {
    const [, name = '', figures = ''] = /^\s*([^:\s]+):(.*)$/.exec(line) ?? [];
    if (name === '' || name === 'lo') return [];
    const columns = figures.trim().split(/\s+/);
    const value = (index: number) => ({ value: BigInt(columns[index] ?? '0') });
    return [{ name, rxBytes: value(0), rxErrors: value(2), txBytes: value(8), txErrors: value(10) }];
  });
  const own = interfaces.find(({ name }) => name === 'eth0');
  const others = interfaces.filter((each) => each !== own);
  return { timestamp: now(), ...(own && { defaultInterface: own }), interfaces: others };
}
