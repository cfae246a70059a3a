/**
 * Sends ended spans to a collector, in batches and in their order.
 *
 * Tracing never holds up a call: when the collector is slow or gone, spans beyond the queue are dropped, and the log says
 * how many, once a time. A batch that is refused is dropped too; one that could not be sent is tried once more with the
 * next.
 * Source: OTLP/HTTP, "Binary Protobuf Encoding" and "Failures".
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { unavailable } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import {
  ExportTraceServiceRequestSchema,
  type KeyValue,
  KeyValueSchema,
  type Span,
} from '../../wire/gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.js';
import { discardBody } from '../../wire/http/body.ts';
import type { HttpClient } from '../../wire/http/client.ts';
import type { OtelSettings } from './otel-settings.ts';

export interface SpanExporterDependencies {
  readonly http: Pick<HttpClient, 'send'>;
  readonly log: Logger;
}

/** Names the code that makes the spans. */
export interface Scope {
  readonly name: string;
  readonly version: string;
}

export class SpanExporter implements AsyncDisposable {
  readonly #dependencies: SpanExporterDependencies;
  readonly #settings: OtelSettings;
  readonly #scope: Scope;
  #waiting: Span[] = [];
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #failures = 0;

  constructor(dependencies: SpanExporterDependencies, settings: OtelSettings, scope: Scope) {
    this.#dependencies = dependencies;
    this.#settings = settings;
    this.#scope = scope;
  }

  add(span: Span): void {
    const { queueSpans, batchSpans, delayMs } = this.#settings.batch;
    if (this.#waiting.length >= queueSpans) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push(span);
    if (this.#waiting.length >= batchSpans) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), delayMs).unref();
  }

  /** Sends what is left, for no longer than one time-out. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    await this.#sending;
    if (this.#waiting.length > 0) await this.#send();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
      // A collector that does not answer is asked again with the next span, not in a circle.
      if (this.#failures === 0 && this.#waiting.length > 0)
        this.#timer ??= setTimeout(() => this.#flush(), this.#settings.batch.delayMs).unref();
    });
  }

  async #send(): Promise<void> {
    const spans = this.#waiting.splice(0, this.#settings.batch.batchSpans);
    const { log } = this.#dependencies;
    if (this.#dropped > 0) log.warn({ spans: this.#dropped }, 'spans dropped: the collector takes too few');
    this.#dropped = 0;
    try {
      await this.#post(this.#encode(spans));
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      if (this.#failures === 1) this.#waiting.unshift(...spans);
      const { host } = this.#settings.endpoint;
      log.warn({ error, collector: host, spans: spans.length }, 'spans not taken by the collector');
    }
  }

  async #post(body: Uint8Array): Promise<void> {
    const { endpoint: url, headers, timeoutMs } = this.#settings;
    const response = await this.#dependencies.http.send({
      method: 'POST',
      url,
      headers: { ...headers, 'content-type': 'application/x-protobuf' },
      body,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const { status } = response;
    await discardBody(response);
    if (status === 429 || status >= 500) throw unavailable(`the collector answers ${status}`);
    if (status >= 300)
      this.#dependencies.log.warn(
        { status, collector: url.host },
        'spans refused by the collector, and dropped',
      );
  }

  #encode(spans: Span[]): Uint8Array {
    const { resource, serviceName } = this.#settings;
    const attributes = attributesOf({ ...resource, 'service.name': serviceName });
    return toBinary(
      ExportTraceServiceRequestSchema,
      create(ExportTraceServiceRequestSchema, {
        resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope: this.#scope, spans }] }],
      }),
    );
  }
}

/** Numbers must be whole. */
export const attributesOf = (attributes: Readonly<Record<string, string | number>>): KeyValue[] =>
  Object.entries(attributes).map(([key, value]) =>
    create(KeyValueSchema, {
      key,
      value: {
        value:
          typeof value === 'string'
            ? { case: 'stringValue', value }
            : { case: 'intValue', value: BigInt(value) },
      },
    }),
  );
