/** The streaming server of the CRI behind TLS, with client certificates. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { all, channelsOf, openStream, StreamingFixture } from '../../src/cri/streaming/streaming.fixture.ts';
import type { StreamingRuntime } from '../../src/cri/streaming/streaming-runtime.ts';
import { makeCertificates } from '../support/certificates.ts';

let dir: string;
const pem = (name: string): Promise<string> => readFile(join(dir, name), 'utf8');

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gantry-streaming-tls-'));
  await makeCertificates(dir);
});
after(() => rm(dir, { recursive: true, force: true }));

const exec: StreamingRuntime['exec'] = async (_ctx, _request, { stdout }) => {
  await stdout?.write(Buffer.from('secret'));
  return 0;
};

test('URLs are https, and SPDY goes through TLS', async () => {
  const tls = { cert: await pem('server.crt'), key: await pem('server.key'), clientCa: '' };
  await using fixture = await StreamingFixture.make({ exec }, { tls });
  const url = fixture.exec({ stdin: false, stderr: false });
  assert.match(url, /^https:\/\/127\.0\.0\.1:/);
  const peer = await fixture.spdy(url);
  const error = await openStream(peer, 'error');
  const stdout = await openStream(peer, 'stdout');
  assert.deepEqual(await Promise.all([all(stdout), all(error)]), [
    'secret',
    '{"metadata":{},"status":"Success"}',
  ]);
});

test('only clients with a certificate of the authority come in', async () => {
  const tls = { cert: await pem('server.crt'), key: await pem('server.key'), clientCa: await pem('ca.crt') };
  await using fixture = await StreamingFixture.make({ exec }, { tls });
  const ca = await pem('ca.crt');
  const stranger = fixture.webSocket(fixture.exec({ stdin: false }), ['v4.channel.k8s.io'], { ca });
  const [refusal] = (await once(stranger, 'error').catch((error: unknown) => [error])) as [Error];
  assert.match(refusal.message, /certificate required/);
  const identity = { ca, cert: await pem('client.crt'), key: await pem('client.key') };
  const known = fixture.webSocket(fixture.exec({ stdin: false }), ['v4.channel.k8s.io'], identity);
  assert.equal((await channelsOf(known)).channels.get(1), 'secret');
});
