/**
 * The grpc_server_* series, by the names of the Go ecosystem's gRPC metrics, for calls over gRPC only, as in containerd.
 *
 * All series of the methods that are served exist from the start, with every code, so that a rate over them is right
 * from the first call on; there can never be more, for other methods are not counted.
 */
import type { DescMethod } from '@bufbuild/protobuf';
import type { Counter, Histogram, Registry } from 'prom-client';
import type { CallObservation, CallObserver, ServedCall } from '../../wire/in-flight.ts';
import type { Service } from '../../wire/service.ts';
import type { PromClient } from './prom-client.ts';

/** By the numbers of google.rpc.Code. */
const codeNames = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
] as const;

const types: Readonly<Record<DescMethod['methodKind'], string>> = {
  unary: 'unary',
  server_streaming: 'server_stream',
  client_streaming: 'client_stream',
  bidi_streaming: 'bidi_stream',
};

const methodLabels = ['grpc_method', 'grpc_service', 'grpc_type'] as const;
type MethodLabels = Record<(typeof methodLabels)[number], string>;

interface MethodSeries {
  readonly started: Counter.Internal;
  readonly received: Counter.Internal;
  readonly sent: Counter.Internal;
  readonly handled: readonly Counter.Internal[];
  readonly seconds: Histogram.Internal<string> | undefined;
}

const nothing: CallObservation = {};

export class CallMetrics implements CallObserver {
  readonly #methods = new Map<string, MethodSeries>();

  constructor(
    { prom, registry, services }: { prom: PromClient; registry: Registry; services: readonly Service[] },
    { histogram }: { readonly histogram: boolean },
  ) {
    const counter = (name: string, help: string): Counter =>
      new prom.Counter({ name, help, labelNames: methodLabels, registers: [registry] });
    const started = counter('grpc_server_started_total', 'Total number of RPCs started on the server.');
    const received = counter(
      'grpc_server_msg_received_total',
      'Total number of RPC stream messages received on the server.',
    );
    const sent = counter(
      'grpc_server_msg_sent_total',
      'Total number of gRPC stream messages sent by the server.',
    );
    const handled = new prom.Counter({
      name: 'grpc_server_handled_total',
      help: 'Total number of RPCs completed on the server, regardless of success or failure.',
      labelNames: ['grpc_code', ...methodLabels],
      registers: [registry],
    });
    const seconds = histogram
      ? new prom.Histogram({
          name: 'grpc_server_handling_seconds',
          help: 'Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.',
          labelNames: methodLabels,
          registers: [registry],
        })
      : undefined;
    for (const service of services)
      for (const method of service.methods) {
        const labels = labelsOf(service, method);
        seconds?.zero(labels);
        for (const each of [started, received, sent]) each.inc(labels, 0);
        for (const code of codeNames) handled.inc({ grpc_code: code, ...labels }, 0);
        this.#methods.set(`${service.typeName}/${method.name}`, {
          started: started.labels(labels),
          received: received.labels(labels),
          sent: sent.labels(labels),
          handled: codeNames.map((code) => handled.labels({ grpc_code: code, ...labels })),
          seconds: seconds?.labels(labels),
        });
      }
  }

  began({ protocol, method }: ServedCall): CallObservation {
    const series = protocol === 'grpc' ? this.#methods.get(method) : undefined;
    if (series === undefined) return nothing;
    const startedMs = performance.now();
    series.started.inc();
    return {
      received: () => series.received.inc(),
      sent: () => series.sent.inc(),
      ended: (code) => {
        (series.handled[code] ?? series.handled[2])?.inc();
        series.seconds?.observe((performance.now() - startedMs) / 1000);
      },
    };
  }
}

const labelsOf = (service: Service, method: DescMethod): MethodLabels => ({
  grpc_method: method.name,
  grpc_service: service.typeName,
  grpc_type: types[method.methodKind],
});
