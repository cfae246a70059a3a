/** The series of containers out of measures of both versions, for tasks that are not there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AnyValue } from '../../base/any-value.ts';
import { background } from '../../base/context.ts';
import { notFound } from '../../base/errors.ts';
import { type ContainerId, parseContainerId, parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import type { Container } from '../../core/containers/container-store.ts';
import type { TaskMetric } from '../../core/runtime/task-manager.ts';
import { packAny } from '../../wire/any.ts';
import { MetricsSchema as MetricsV1Schema } from '../../wire/gen/containerd/cgroups/v1/metrics_pb.js';
import { MetricsSchema as MetricsV2Schema } from '../../wire/gen/containerd/cgroups/v2/metrics_pb.js';
import { ContainerMetrics, type ContainerMetricsOptions } from './container-metrics.ts';

const ctx = background(silentLogger);
const namespaces = ['one', 'two'].map((name) => ({ name: parseNamespace(name), labels: {} }));
const idOf = (index: number): ContainerId => parseContainerId(`c${index}`);

/** Metrics over tasks of the first namespace, and how often they were asked. */
function fixture(measures: readonly AnyValue[], options?: ContainerMetricsOptions) {
  const asked: string[] = [];
  const metrics = new ContainerMetrics(
    {
      namespaces: { list: async () => namespaces },
      containers: {
        list: async () =>
          measures.map(
            (_, index) => ({ id: idOf(index), runtime: { name: 'r', options: undefined } }) as Container,
          ),
      },
      tasks: {
        metrics: async ({ namespace }): Promise<TaskMetric[]> => {
          asked.push(namespace);
          if (namespace !== 'one') return [];
          return measures.map((data, index) => ({ id: idOf(index), timestamp: now(), data }));
        },
      },
    },
    options,
  );
  return { metrics, asked };
}

const labels = 'container_id="c0",namespace="one",runtime="r"';
const samplesOf = (text: string): string[] =>
  text.split('\n').filter((line) => line.startsWith('container_'));

test('version 2: values, devices, and nothing of a controller that was not measured', async () => {
  const data = packAny(MetricsV2Schema, {
    pids: { current: 3n, limit: 2n ** 64n - 1n },
    cpu: { usageUsec: 12n },
    io: { usage: [{ major: 8n, minor: 1n, rbytes: 5n, wios: 7n }] },
    memoryEvents: { oom: 2n },
  });
  const samples = samplesOf(await fixture([data]).metrics.expose(ctx));
  for (const expected of [
    `container_pids_current{${labels}} 3`,
    `container_pids_limit{${labels}} 18446744073709551615`,
    `container_cpu_usage_usec_microseconds{${labels}} 12`,
    `container_io_rbytes_bytes{container_id="c0",major="8",minor="1",namespace="one",runtime="r"} 5`,
    `container_io_wios_total{container_id="c0",major="8",minor="1",namespace="one",runtime="r"} 7`,
    `container_memory_oom_total{${labels}} 2`,
  ])
    assert.ok(samples.includes(expected), `${expected} in\n${samples.join('\n')}`);
  assert.ok(!samples.some((line) => line.startsWith('container_memory_usage_bytes')));
});

test('version 1: every field of memory has its series, and processors and pages theirs', async () => {
  const data = packAny(MetricsV1Schema, {
    memory: { usage: { usage: 9n, failcnt: 1n }, totalRssHuge: 4n },
    cpu: { usage: { perCpu: [5n, 6n] } },
    hugetlb: [{ pagesize: '2MB', usage: 8n }],
    blkio: { ioServicedRecursive: [{ op: 'Read', device: '/dev/"a\\', major: 8n, minor: 0n, value: 3n }] },
  });
  const samples = samplesOf(await fixture([data]).metrics.expose(ctx));
  for (const expected of [
    `container_memory_usage_usage_bytes{${labels}} 9`,
    `container_memory_usage_failcnt_total{${labels}} 1`,
    `container_memory_total_rss_huge_bytes{${labels}} 4`,
    `container_per_cpu_nanoseconds{container_id="c0",cpu="1",namespace="one",runtime="r"} 6`,
    `container_hugetlb_usage_bytes{container_id="c0",namespace="one",page="2MB",runtime="r"} 8`,
    String.raw`container_blkio_io_serviced_recursive_total{container_id="c0",device="/dev/\"a\\",major="8",minor="0",namespace="one",op="Read",runtime="r"} 3`,
  ])
    assert.ok(samples.includes(expected), `${expected} in\n${samples.join('\n')}`);
});

test('a family is told once, however many containers it has', async () => {
  const data = packAny(MetricsV2Schema, { pids: { current: 1n } });
  const text = await fixture([data, data, data]).metrics.expose(ctx);
  assert.equal(text.match(/# TYPE container_pids_current gauge/g)?.length, 1);
  assert.equal(samplesOf(text).filter((line) => line.startsWith('container_pids_current')).length, 3);
});

test('what is too much is left out, and counted', async () => {
  const data = packAny(MetricsV2Schema, { pids: { current: 1n } });
  const text = await fixture([data, data, data], { maxTasks: 2 }).metrics.expose(ctx);
  assert.equal(samplesOf(text).filter((line) => line.startsWith('container_pids_current')).length, 2);
  assert.match(text, /^gantry_metrics_tasks_left_out 1$/m);
});

test('measures of an unknown form give no series', async () => {
  const data = { typeUrl: 'other.Metrics', value: new Uint8Array([1]) };
  assert.deepEqual(samplesOf(await fixture([data]).metrics.expose(ctx)), []);
});

test('scrapes that come together share a round, the next makes its own', async () => {
  const { metrics, asked } = fixture([]);
  const [a, b] = await Promise.all([metrics.expose(ctx), metrics.expose(ctx)]);
  assert.equal(a, b);
  assert.deepEqual(asked.toSorted(), ['one', 'two']);
  await metrics.expose(ctx);
  assert.equal(asked.length, 4);
});

test('a round that fails does not fail the next', async () => {
  let fails = true;
  const metrics = new ContainerMetrics({
    namespaces: {
      list: async () => {
        if (fails) throw notFound('database', 'x');
        return [];
      },
    },
    containers: { list: async () => [] },
    tasks: { metrics: async () => [] },
  });
  await assert.rejects(metrics.expose(ctx));
  fails = false;
  assert.match(await metrics.expose(ctx), /left_out 0/);
});
