/** Traces: spans of served calls and of those into shims, joined to the caller's, as a collector gets them. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { rejectsWith } from '../../src/testing/assertions.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { Containers } from '../../src/wire/gen/containerd/services/containers/v1/containers_pb.js';
import { Tasks } from '../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { Version } from '../../src/wire/gen/containerd/services/version/v1/version_pb.js';
import {
  ExportTraceServiceRequestSchema,
  type KeyValue,
} from '../../src/wire/gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import { startGantry } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { TaskLab } from '../support/task-lab.ts';

const skip = needsRoot('it runs containers by runc');

interface ReceivedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly tookNs: bigint;
  readonly status: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly resource: Readonly<Record<string, unknown>>;
}

/** Takes spans as a collector does, or answers as it is told to. */
class Collector implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  readonly headers: Record<string, unknown>[] = [];
  /** Statuses of the next answers; 200 afterwards. */
  readonly answers: number[] = [];
  port = 0;
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const status = this.answers.shift() ?? (request.url === '/v1/traces' ? 200 : 404);
      this.headers.push({ method: request.method, ...request.headers });
      if (status === 200) this.#take(Buffer.concat(chunks));
      response.writeHead(status).end();
    });
  });

  static async start(): Promise<Collector> {
    const collector = new Collector();
    const { promise, resolve } = Promise.withResolvers<void>();
    collector.#server.listen(0, '127.0.0.1', resolve);
    await promise;
    const address = collector.#server.address();
    collector.port = typeof address === 'object' && address !== null ? address.port : 0;
    return collector;
  }

  get env(): Record<string, string> {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.port}`,
      OTEL_BSP_SCHEDULE_DELAY: '20',
    };
  }

  named(name: string): ReceivedSpan[] {
    return this.spans.filter((span) => span.name.endsWith(name));
  }

  #take(body: Buffer): void {
    for (const { resource, scopeSpans } of fromBinary(ExportTraceServiceRequestSchema, body).resourceSpans)
      for (const { spans } of scopeSpans)
        for (const span of spans)
          this.spans.push({
            name: span.name,
            kind: span.kind,
            traceId: Buffer.from(span.traceId).toString('hex'),
            spanId: Buffer.from(span.spanId).toString('hex'),
            parentSpanId: Buffer.from(span.parentSpanId).toString('hex'),
            tookNs: span.endTimeUnixNano - span.startTimeUnixNano,
            status: span.status?.code ?? 0,
            attributes: plain(span.attributes),
            resource: plain(resource?.attributes ?? []),
          });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }
}

const plain = (attributes: readonly KeyValue[]): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value?.value.value]));

const [server, client] = [2, 3];
const traceId = '0af7651916cd43dd8448eb211c80319c';
const callerSpan = 'b7ad6b7169203331';
const traced = { headers: { traceparent: `00-${traceId}-${callerSpan}-01` } };

describe('traces, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  before(async () => {
    registry = await startRegistry(['busybox']);
  });
  after(() => registry?.[Symbol.asyncDispose]());

  test('join the caller, name the call and its outcome, and go on into the shim', async () => {
    await using collector = await Collector.start();
    await using daemon = await startGantry({
      env: {
        ...collector.env,
        OTEL_SERVICE_NAME: 'some node',
        OTEL_RESOURCE_ATTRIBUTES: 'rack=a%20b',
        OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20t',
      },
    });
    await using lab = await TaskLab.open(daemon, registry.reference('busybox'));
    await lab.run('traced', ['sleep', '1000']);
    await using connection = connectGrpc(daemon.address, { namespace: lab.namespace });
    await connection.client(Tasks).get({ containerId: 'traced' }, traced);
    await rejectsWith(connection.client(Containers).get({ id: 'absent' }, traced), 'NotFound');
    const ofCaller = (name: string): ReceivedSpan[] =>
      collector.named(name).filter((span) => span.traceId === traceId);
    await until(
      'the spans came',
      () => ofCaller('Containers/Get').length > 0 && ofCaller('Task/State').length > 0,
    );

    const [get] = ofCaller('Tasks/Get');
    assert.ok(get !== undefined);
    assert.deepEqual(
      [get.name, get.kind, get.parentSpanId, get.status],
      ['containerd.services.tasks.v1.Tasks/Get', server, callerSpan, 0],
    );
    assert.ok(get.tookNs > 0n && get.tookNs < 60_000_000_000n);
    assert.deepEqual(get.attributes, {
      'rpc.system': 'grpc',
      'rpc.service': 'containerd.services.tasks.v1.Tasks',
      'rpc.method': 'Get',
      'rpc.grpc.status_code': 0n,
      namespace: lab.namespace,
    });
    assert.deepEqual(get.resource, { 'service.name': 'some node', rack: 'a b' });
    const [state] = ofCaller('Task/State');
    assert.deepEqual([state?.kind, state?.parentSpanId], [client, get.spanId]);
    const [failed] = ofCaller('Containers/Get');
    assert.deepEqual([failed?.status, failed?.attributes['rpc.grpc.status_code']], [2, 5n]);
    assert.deepEqual(
      [collector.headers[0]?.['content-type'], collector.headers[0]?.['authorization']],
      ['application/x-protobuf', 'Bearer t'],
    );
    assert.ok(collector.spans.every(({ spanId }) => /^[0-9a-f]{16}$/.test(spanId)));
    assert.equal(new Set(collector.spans.map(({ spanId }) => spanId)).size, collector.spans.length);
  });

  test('are sampled as told, and as the caller decided', async () => {
    await using collector = await Collector.start();
    await using daemon = await startGantry({
      env: { ...collector.env, OTEL_TRACES_SAMPLER: 'parentbased_always_off' },
    });
    await using connection = connectGrpc(daemon.address);
    const version = connection.client(Version);
    const unsampled = { headers: { traceparent: `00-${'1'.repeat(32)}-${callerSpan}-00` } };
    const broken = { headers: { traceparent: 'not a trace' } };
    for (const options of [{}, unsampled, broken, traced]) await version.version({}, options);
    await until('the sampled one came', () => collector.spans.length > 0);
    await daemon.stop();
    assert.deepEqual(
      collector.spans.map((span) => [span.traceId, span.parentSpanId]),
      [[traceId, callerSpan]],
    );
  });

  test('survive a collector that is away for a moment, and nothing waits for it', async () => {
    await using collector = await Collector.start();
    collector.answers.push(503);
    await using daemon = await startGantry({
      env: { ...collector.env, OTEL_TRACES_SAMPLER: 'parentbased_always_off' },
    });
    await using connection = connectGrpc(daemon.address);
    await connection.client(Version).version({}, traced);
    await until('the failure is logged', async () => (await daemon.log()).includes('spans not taken'));
    await connection.client(Version).version({}, traced);
    await until('both came', () => collector.spans.length === 2);
  });

  test('what is left goes out when the daemon stops', async () => {
    await using collector = await Collector.start();
    await using daemon = await startGantry({ env: { ...collector.env, OTEL_BSP_SCHEDULE_DELAY: '600000' } });
    {
      await using connection = connectGrpc(daemon.address);
      await connection.client(Version).version({}, traced);
    }
    assert.equal(collector.spans.length, 0);
    await daemon.stop();
    assert.ok(collector.named('Version/Version').some((span) => span.traceId === traceId));
  });

  test('a protocol that is not spoken is told, and the daemon serves', async () => {
    await using daemon = await startGantry({
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
    });
    assert.match(await daemon.log(), /plugin failed.*OTEL_EXPORTER_OTLP_PROTOCOL.*http\/protobuf/);
  });
});
