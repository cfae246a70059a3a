/** What lets others look in: metrics, traces, and the list of what is used and will go. */
import { revision, version } from '../../base/version.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import { type Plugin, SkipPlugin } from '../../core/plugins/plugin.ts';
import { HttpClient } from '../../wire/http/client.ts';
import { findDeprecatedSettings } from '../config/deprecated-settings.ts';
import { CallMetrics } from '../metrics/call-metrics.ts';
import { ContainerMetrics } from '../metrics/container-metrics.ts';
import { DaemonMetrics } from '../metrics/daemon-metrics.ts';
import { loadPromClient } from '../metrics/prom-client.ts';
import { readOtelSettings } from '../tracing/otel-settings.ts';
import { SpanExporter } from '../tracing/span-exporter.ts';
import { Tracer } from '../tracing/tracer.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import {
  containersNoun,
  deprecationWarnings,
  grpcType,
  namespacesNoun,
  prometheus,
  scheduler,
  serviceType,
  taskMonitor,
  tasksNoun,
  transferLocal,
} from './tokens.ts';

export function observability({ log, calls, configuration, deprecations }: BuiltinDependencies): Plugin[] {
  const warnings = definePlugin({
    ...deprecationWarnings,
    requires: [],
    config: noConfig,
    init: () => {
      for (const id of findDeprecatedSettings(configuration)) deprecations.used(id);
      return deprecations;
    },
  });

  /** Series of containers only: what is killed for want of memory is told by the shims. */
  const monitor = definePlugin({
    ...taskMonitor,
    requires: [serviceType.type],
    config: (table) => ({ noPrometheus: table.boolean('no_prometheus', false) }),
    init: ({ config, get }) =>
      config.noPrometheus
        ? undefined
        : new ContainerMetrics({
            namespaces: get(namespacesNoun),
            containers: get(containersNoun),
            tasks: get(tasksNoun),
          }),
  });

  const series = definePlugin({
    ...prometheus,
    requires: [grpcType.type, scheduler.type, transferLocal.type],
    config: (table) => ({ histogram: table.boolean('grpc_histogram', false) }),
    init: async ({ all, config, get, onStop }) => {
      // Nobody could ask for them.
      if (configuration.metricsAddress === '') return undefined;
      const prom = await loadPromClient();
      const registry = new prom.Registry();
      const services = [...all(grpcType).values()].flatMap(({ grpc }) => grpc.map(({ service }) => service));
      onStop(calls.observe(new CallMetrics({ prom, registry, services }, config)));
      const daemon = new DaemonMetrics({ prom, registry }, { version, revision });
      onStop(get(scheduler).onRun((run) => daemon.gcRan(run)));
      onStop(get(transferLocal).onEnded((transfer) => daemon.transferEnded(transfer)));
      return registry;
    },
  });

  const otlp = definePlugin({
    type: 'io.containerd.tracing.processor.v1',
    id: 'otlp',
    requires: [],
    config: noConfig,
    init: ({ onStop }) => {
      const settings = readOtelSettings(process.env);
      if (settings === undefined) throw new SkipPlugin('no OTEL_EXPORTER_OTLP_ENDPOINT is set');
      const http = new HttpClient({ env: process.env, userAgent: `gantryd/${version}` });
      onStop(http);
      const exporter = new SpanExporter({ http, log }, settings, { name: 'gantry', version });
      onStop(exporter);
      const tracer = new Tracer({ exporter }, settings);
      onStop(tracer);
      onStop(calls.observe(tracer));
      return tracer;
    },
  });

  return [warnings, monitor, series, otlp];
}
