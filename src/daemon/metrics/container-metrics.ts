/**
 * The series of all containers with a task, asked from their shims at each scrape and kept by nobody.
 *
 * Scrapes that come together share one round, so that a shim is asked once whoever scrapes. What a task has no measures
 * for, because it has ended or its shim does not answer in time, is left out. Beyond `metricsTasks` containers the rest
 * is left out too, and `gantry_metrics_tasks_left_out` says how many.
 *
 * Differs from containerd: its series carry the labels that a namespace asks for; ours only container, namespace and
 * runtime.
 */
import { type Context, withNamespace } from '../../base/context.ts';
import { limits } from '../../base/limits.ts';
import type { ContainerStore } from '../../core/containers/container-store.ts';
import type { NamespaceStore } from '../../core/namespaces/namespace-store.ts';
import type { TaskManager, TaskMetric } from '../../core/runtime/task-manager.ts';
import { typeNameOf, unpackAny } from '../../wire/any.ts';
import { MetricsSchema as MetricsV1Schema } from '../../wire/gen/containerd/cgroups/v1/metrics_pb.js';
import { MetricsSchema as MetricsV2Schema } from '../../wire/gen/containerd/cgroups/v2/metrics_pb.js';
import { Exposition, type Labels, labelText } from './exposition.ts';
import type { Series } from './series.ts';
import { seriesV1 } from './series-v1.ts';
import { seriesV2 } from './series-v2.ts';

export interface ContainerMetricsDependencies {
  readonly namespaces: Pick<NamespaceStore, 'list'>;
  readonly containers: Pick<ContainerStore, 'list'>;
  readonly tasks: Pick<TaskManager, 'metrics'>;
}

export interface ContainerMetricsOptions {
  readonly maxTasks?: number;
}

interface Measured {
  readonly labels: Labels;
  readonly metric: TaskMetric;
}

const leftOut = {
  name: 'gantry_metrics_tasks_left_out',
  help: 'Tasks that are not among the container series because there are too many',
  type: 'gauge',
} as const;

export class ContainerMetrics {
  readonly #dependencies: ContainerMetricsDependencies;
  readonly #maxTasks: number;
  #round: Promise<string> | undefined;

  constructor(dependencies: ContainerMetricsDependencies, options: ContainerMetricsOptions = {}) {
    this.#dependencies = dependencies;
    this.#maxTasks = options.maxTasks ?? limits.metricsTasks;
  }

  /** In Prometheus' text format. */
  expose(ctx: Context): Promise<string> {
    this.#round ??= this.#expose(ctx).finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #expose(ctx: Context): Promise<string> {
    const namespaces = await this.#dependencies.namespaces.list(ctx);
    const rounds = await Promise.all(namespaces.map(({ name }) => this.#measure(ctx, name)));
    const measured = rounds.flat();
    const exposition = new Exposition();
    for (const one of measured.slice(0, this.#maxTasks)) addTo(exposition, one);
    exposition.add(leftOut, '', Math.max(0, measured.length - this.#maxTasks));
    return exposition.toString();
  }

  async #measure(context: Context, namespace: Parameters<typeof withNamespace>[1]): Promise<Measured[]> {
    const ctx = withNamespace(context, namespace);
    const metrics = await this.#dependencies.tasks.metrics(ctx, []);
    if (metrics.length === 0) return [];
    const containers = await this.#dependencies.containers.list(ctx, []);
    const runtimes = new Map(containers.map(({ id, runtime }) => [id, runtime.name]));
    return metrics.map((metric) => ({
      metric,
      labels: { container_id: metric.id, namespace, runtime: runtimes.get(metric.id) ?? '' },
    }));
  }
}

/** A foreign shim may measure in a form of its own: that has no series. */
function addTo(exposition: Exposition, { labels, metric: { data } }: Measured): void {
  const type = typeNameOf(data);
  if (type === MetricsV1Schema.typeName)
    addAll(exposition, labels, seriesV1, unpackAny(MetricsV1Schema, data));
  else if (type === MetricsV2Schema.typeName)
    addAll(exposition, labels, seriesV2, unpackAny(MetricsV2Schema, data));
}

function addAll<Stats>(
  exposition: Exposition,
  labels: Labels,
  series: readonly Series<Stats>[],
  stats: Stats,
): void {
  const common = labelText(labels);
  for (const { family, read } of series)
    for (const sample of read(stats)) {
      const own = sample.labels === undefined ? common : labelText(sorted({ ...labels, ...sample.labels }));
      exposition.add(family, own, sample.value);
    }
}

const sorted = (labels: Labels): Labels =>
  Object.fromEntries(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)));
