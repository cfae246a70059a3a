import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { readOtelSettings } from './otel-settings.ts';

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/' };

test('nothing is traced without an endpoint, or when that is switched off', () => {
  for (const env of [
    {},
    { OTEL_SERVICE_NAME: 'x' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { ...endpoint, OTEL_SDK_DISABLED: 'true' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none' },
  ])
    assert.equal(readOtelSettings(env), undefined, JSON.stringify(env));
});

test('the defaults are those of OpenTelemetry and of containerd', () => {
  const settings = readOtelSettings(endpoint);
  assert.equal(settings?.endpoint.href, 'http://collector:4318/v1/traces');
  assert.deepEqual(
    [settings?.timeoutMs, settings?.serviceName, settings?.sampler, settings?.batch],
    [
      10_000,
      'containerd',
      { ratio: 1, followsParent: true },
      { delayMs: 5000, queueSpans: 2048, batchSpans: 512 },
    ],
  );
});

test('what is said for traces wins, and its endpoint is taken as it is', () => {
  const settings = readOtelSettings({
    ...endpoint,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://other/here',
    OTEL_EXPORTER_OTLP_HEADERS: 'a=1',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'b=x%2Cy, c = 3',
    OTEL_TRACES_SAMPLER: 'traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
  });
  assert.equal(settings?.endpoint.href, 'https://other/here');
  assert.deepEqual(settings?.headers, { b: 'x,y', c: '3' });
  assert.deepEqual(settings?.sampler, { ratio: 0.25, followsParent: false });
});

for (const [name, value] of [
  ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4317'],
  ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
  ['OTEL_EXPORTER_OTLP_HEADERS', 'novalue'],
  ['OTEL_EXPORTER_OTLP_HEADERS', 'a=%zz'],
  ['OTEL_EXPORTER_OTLP_TIMEOUT', 'soon'],
  ['OTEL_TRACES_SAMPLER', 'sometimes'],
  ['OTEL_BSP_MAX_QUEUE_SIZE', '0'],
] as const)
  test(`${name}=${value} is refused by its name`, () => {
    assert.throws(
      () => readOtelSettings({ ...endpoint, [name]: value }),
      (error) => hasCode(error, 'InvalidArgument') && String(error).includes(name),
    );
  });
