/** The version and health services over a real socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Version } from '../wire/gen/containerd/services/version/v1/version_pb.js';
import { Health, HealthCheckResponse_ServingStatus } from '../wire/gen/grpc/health/v1/health_pb.js';
import { ServiceFixture } from './service.fixture.ts';

test('version and health', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const { version, revision } = await connection.client(Version).version({});
  assert.deepEqual([version, revision], ['2.1.0', 'r']);
  const health = connection.client(Health);
  assert.equal((await health.check({})).status, HealthCheckResponse_ServingStatus.SERVING);
  await rejectsWith(health.check({ service: 'nope' }), 'NotFound');
  const controller = new AbortController();
  const watch = health.watch({}, { signal: controller.signal })[Symbol.asyncIterator]();
  assert.equal((await watch.next()).value?.status, HealthCheckResponse_ServingStatus.SERVING);
  controller.abort();
  await rejectsWith(watch.next(), 'Canceled');
});
