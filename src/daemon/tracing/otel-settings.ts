/**
 * The OTEL_* variables that say whether, how much and where to trace.
 *
 * Traces go by http/protobuf, OpenTelemetry's and containerd's default; another protocol is an error, so that nobody
 * waits for spans that never come. Without an endpoint nothing is traced, as in containerd.
 * Source: OpenTelemetry, "Environment Variable Specification" and "OTLP Exporter Configuration".
 */
import { invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface OtelSettings {
  readonly endpoint: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly serviceName: string;
  readonly resource: Readonly<Record<string, string>>;
  readonly sampler: Sampler;
  readonly batch: {
    readonly delayMs: number;
    readonly queueSpans: number;
    readonly batchSpans: number;
  };
}

export interface Sampler {
  /** Of traces that begin here: from 0, none, to 1, all. */
  readonly ratio: number;
  /** Whether a caller's own decision counts. */
  readonly followsParent: boolean;
}

/** Undefined when nothing is to be traced. Errors: InvalidArgument naming the variable. */
export function readOtelSettings(env: Environment): OtelSettings | undefined {
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none')
    return undefined;
  const endpoint = endpointOf(env);
  if (endpoint === undefined) return undefined;
  const protocol = ofTraces(env, 'PROTOCOL') ?? 'http/protobuf';
  if (protocol !== 'http/protobuf')
    throw invalidArgument(
      `OTEL_EXPORTER_OTLP_PROTOCOL: ${JSON.stringify(protocol)} is not spoken here: set http/protobuf, which every collector takes (port 4318)`,
    );
  const resource = pairs('OTEL_RESOURCE_ATTRIBUTES', env['OTEL_RESOURCE_ATTRIBUTES']);
  return {
    endpoint,
    headers: pairs('OTEL_EXPORTER_OTLP_HEADERS', ofTraces(env, 'HEADERS')),
    timeoutMs: number('OTEL_EXPORTER_OTLP_TIMEOUT', ofTraces(env, 'TIMEOUT'), 10_000),
    serviceName: env['OTEL_SERVICE_NAME'] ?? resource['service.name'] ?? 'containerd',
    resource,
    sampler: samplerOf(env),
    batch: {
      delayMs: number('OTEL_BSP_SCHEDULE_DELAY', env['OTEL_BSP_SCHEDULE_DELAY'], limits.traceExportMs),
      queueSpans: number('OTEL_BSP_MAX_QUEUE_SIZE', env['OTEL_BSP_MAX_QUEUE_SIZE'], limits.tracedSpans),
      batchSpans: number(
        'OTEL_BSP_MAX_EXPORT_BATCH_SIZE',
        env['OTEL_BSP_MAX_EXPORT_BATCH_SIZE'],
        limits.tracedSpansBatch,
      ),
    },
  };
}

/** The variable for traces wins over the one for all signals. */
const ofTraces = (env: Environment, name: string): string | undefined =>
  present(env[`OTEL_EXPORTER_OTLP_TRACES_${name}`]) ?? present(env[`OTEL_EXPORTER_OTLP_${name}`]);

/** An empty variable counts as unset. */
const present = (value: string | undefined): string | undefined => (value === '' ? undefined : value);

function endpointOf(env: Environment): URL | undefined {
  const exact = present(env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']);
  const base = present(env['OTEL_EXPORTER_OTLP_ENDPOINT']);
  if (exact === undefined && base === undefined) return undefined;
  const name = exact === undefined ? 'OTEL_EXPORTER_OTLP_ENDPOINT' : 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT';
  const url = URL.parse(exact ?? `${base?.replace(/\/+$/, '')}/v1/traces`);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw invalidArgument(`${name}: must be an http or https URL, not ${JSON.stringify(exact ?? base)}`);
  return url;
}

/** `a=b,c=d` with values in percent-encoding. */
function pairs(name: string, text = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const pair of text.split(',').filter((part) => part.trim() !== '')) {
    const at = pair.indexOf('=');
    if (at < 1) throw invalidArgument(`${name}: ${JSON.stringify(pair)} is not KEY=VALUE`);
    found[pair.slice(0, at).trim()] = decoded(name, pair.slice(at + 1).trim());
  }
  return found;
}

function decoded(name: string, value: string): string {
  try {
    return decodeURIComponent(value);
  } catch (error) {
    throw invalidArgument(`${name}: ${JSON.stringify(value)} is no percent-encoding`, error);
  }
}

function number(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw invalidArgument(`${name}: must be a whole number above 0, not ${JSON.stringify(text)}`);
  return value;
}

function samplerOf(env: Environment): Sampler {
  const name = present(env['OTEL_TRACES_SAMPLER']) ?? 'parentbased_always_on';
  const followsParent = name.startsWith('parentbased_');
  const kind = name.replace(/^parentbased_/, '');
  if (kind === 'always_on') return { ratio: 1, followsParent };
  if (kind === 'always_off') return { ratio: 0, followsParent };
  if (kind !== 'traceidratio')
    throw invalidArgument(
      `OTEL_TRACES_SAMPLER: must be always_on, always_off or traceidratio, also with parentbased_ before it, not ${JSON.stringify(name)}`,
    );
  const ratio = Number(present(env['OTEL_TRACES_SAMPLER_ARG']) ?? 1);
  if (!(ratio >= 0 && ratio <= 1))
    throw invalidArgument('OTEL_TRACES_SAMPLER_ARG: must be from 0 to 1 for traceidratio');
  return { ratio, followsParent };
}
