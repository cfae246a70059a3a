/**
 * Spans of the calls that the daemon serves and of those that it makes meanwhile, joined to the traces of its callers:
 * the context comes in the headers of a call and goes on in those of the calls below it.
 *
 * The context of a call is an asynchronous context of Node's (AsyncLocalStorage), so nothing between a handler and the
 * clients it uses knows of tracing.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { create } from '@bufbuild/protobuf';
import { ContainerdError } from '../../base/errors.ts';
import { now } from '../../base/time.ts';
import { type ClientCall, clientCalls } from '../../wire/client-calls.ts';
import {
  type Span,
  SpanSchema,
} from '../../wire/gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.js';
import type { CallObservation, CallObserver, ServedCall } from '../../wire/in-flight.ts';
import { statusOf } from '../../wire/status.ts';
import type { Sampler } from './otel-settings.ts';
import { attributesOf } from './span-exporter.ts';
import {
  formatTraceParent,
  newSpanId,
  newTraceId,
  parseTraceParent,
  type SpanContext,
} from './trace-context.ts';

export interface TracerDependencies {
  readonly exporter: { add(span: Span): void };
}

const kinds = { server: 2, client: 3 } as const;
const statusError = 2;

interface OpenSpan {
  readonly context: SpanContext;
  readonly parent: SpanContext | undefined;
  readonly kind: keyof typeof kinds;
  /** `package.Service/Method`. */
  readonly method: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly startedAt: bigint;
}

export class Tracer implements CallObserver, Disposable {
  readonly #exporter: TracerDependencies['exporter'];
  readonly #sampler: Sampler;
  readonly #current = new AsyncLocalStorage<SpanContext>();
  readonly #onClientCall = (call: unknown): void => this.#trace(call as ClientCall);

  /** Traces the calls that this process makes from now on; those that it serves when it observes them. */
  constructor({ exporter }: TracerDependencies, { sampler }: { readonly sampler: Sampler }) {
    this.#exporter = exporter;
    this.#sampler = sampler;
    clientCalls.subscribe(this.#onClientCall);
  }

  [Symbol.dispose](): void {
    clientCalls.unsubscribe(this.#onClientCall);
  }

  began({ protocol, method, namespace, header }: ServedCall): CallObservation {
    const parent = parseTraceParent(header('traceparent'), header('tracestate'));
    const span = this.#begin('server', method, parent, {
      'rpc.system': protocol,
      ...(namespace !== undefined && { namespace }),
    });
    return {
      run: (handle) => this.#current.run(span.context, handle),
      ended: (code) => this.#end(span, code),
    };
  }

  /** A call of the daemon's own accord has no span: what is traced is what somebody asked for. */
  #trace(call: ClientCall): void {
    const parent = this.#current.getStore();
    if (parent === undefined) return;
    const method = `${call.method.parent.typeName}/${call.method.name}`;
    const span = this.#begin('client', method, parent, {});
    call.headers['traceparent'] = formatTraceParent(span.context);
    if (span.context.traceState !== '') call.headers['tracestate'] = span.context.traceState;
    call.ended = (failure) => this.#end(span, failure === undefined ? 0 : statusOf(failure).code, failure);
  }

  #begin(
    kind: OpenSpan['kind'],
    method: string,
    parent: SpanContext | undefined,
    attributes: OpenSpan['attributes'],
  ): OpenSpan {
    const traceId = parent?.traceId ?? newTraceId();
    const context = {
      traceId,
      spanId: newSpanId(),
      sampled: this.#isSampled(kind, traceId, parent),
      traceState: parent?.traceState ?? '',
    };
    return { context, parent, kind, method, attributes, startedAt: now() };
  }

  #isSampled(kind: OpenSpan['kind'], traceId: string, parent: SpanContext | undefined): boolean {
    const { ratio, followsParent } = this.#sampler;
    // The calls below a span of ours go with it.
    if (parent !== undefined && (followsParent || kind === 'client')) return parent.sampled;
    // The same digits decide in every process, so that a trace is sampled as a whole.
    return Number.parseInt(traceId.slice(-8), 16) < ratio * 2 ** 32;
  }

  #end(
    { context, parent, kind, method, attributes, startedAt }: OpenSpan,
    code: number,
    failure?: unknown,
  ): void {
    if (!context.sampled) return;
    const slash = method.lastIndexOf('/');
    this.#exporter.add(
      create(SpanSchema, {
        traceId: Buffer.from(context.traceId, 'hex'),
        spanId: Buffer.from(context.spanId, 'hex'),
        parentSpanId: Buffer.from(parent?.spanId ?? '', 'hex'),
        traceState: context.traceState,
        name: method,
        kind: kinds[kind],
        startTimeUnixNano: startedAt,
        endTimeUnixNano: now(),
        attributes: attributesOf({
          'rpc.service': method.slice(0, slash),
          'rpc.method': method.slice(slash + 1),
          'rpc.grpc.status_code': code,
          ...attributes,
        }),
        ...(code !== 0 && { status: { code: statusError, message: textOf(failure) } }),
      }),
    );
  }
}

const textOf = (failure: unknown): string =>
  failure === undefined ? '' : ContainerdError.from(failure).message;
