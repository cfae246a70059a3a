/** Exec and attach over SPDY, with npm's spdy-transport on the other end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { deferred } from '../../base/deferred.ts';
import { notFound } from '../../base/errors.ts';
import { until } from '../../testing/until.ts';
import { all, openStream, StreamingFixture } from './streaming.fixture.ts';
import type { CommandStreams, StreamingRuntime, TerminalSize } from './streaming-runtime.ts';

/** What it reads goes to stdout, a word to stderr. */
const cat: StreamingRuntime['exec'] = async (_ctx, _request, { stdin, stdout, stderr }) => {
  for await (const bytes of stdin ?? []) await stdout?.write(bytes);
  await stderr?.write(Buffer.from('done'));
  return 3;
};

test('a command with all its streams, and its exit code as metav1.Status', async () => {
  await using fixture = await StreamingFixture.make({ exec: cat });
  const peer = await fixture.spdy(fixture.exec({ cmd: ['cat', '-'] }));
  const error = await openStream(peer, 'error');
  const stdin = await openStream(peer, 'stdin');
  const stdout = await openStream(peer, 'stdout');
  const stderr = await openStream(peer, 'stderr');
  stdin.write('one ');
  stdin.end('two');
  const [out, err, outcome] = await Promise.all([all(stdout), all(stderr), all(error)]);
  assert.equal(out, 'one two');
  assert.equal(err, 'done');
  const status = JSON.parse(outcome) as unknown;
  assert.deepEqual(status, {
    metadata: {},
    status: 'Failure',
    message: 'command terminated with non-zero exit code: error executing command [cat -], exit code 3',
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: '3' }] },
  });
});

const outcomes: readonly (readonly [string, StreamingRuntime['exec'], string])[] = [
  ['v4.channel.k8s.io', async () => 0, '{"metadata":{},"status":"Success"}'],
  ['v3.channel.k8s.io', async () => 0, ''],
  [
    'v2.channel.k8s.io',
    async () => 7,
    'command terminated with non-zero exit code: error executing command [sh -c true], exit code 7',
  ],
  [
    'channel.k8s.io',
    async () => Promise.reject(notFound('container', 'c1')),
    'Internal error occurred: error executing command in container: container "c1"',
  ],
];
for (const [protocol, exec, expected] of outcomes)
  test(`${protocol} tells ${expected === '' ? 'a success by nothing' : expected}`, async () => {
    await using fixture = await StreamingFixture.make({ exec });
    const peer = await fixture.spdy(fixture.exec({ stdin: false, stderr: false }), protocol);
    const error = await openStream(peer, 'error');
    const stdout = await openStream(peer, 'stdout');
    assert.deepEqual(await Promise.all([all(stdout), all(error)]), ['', expected]);
  });

test('attach, with a terminal that is resized', async () => {
  const sizes: TerminalSize[] = [];
  const attach: StreamingRuntime['attach'] = async (_ctx, _request, { resizes, stdout }) => {
    for await (const size of resizes) {
      sizes.push(size);
      await stdout?.write(Buffer.from(`${size.width}x${size.height};`));
      if (size.width === 132) return;
    }
  };
  await using fixture = await StreamingFixture.make({ attach });
  const peer = await fixture.spdy(fixture.attach({ tty: true, stderr: false }));
  const error = await openStream(peer, 'error');
  await openStream(peer, 'stdin');
  const stdout = await openStream(peer, 'stdout');
  const resize = await openStream(peer, 'resize');
  resize.write('{"Width":80,"Hei');
  resize.write('ght":24}\n');
  await until('the first size was taken', () => sizes.length === 1);
  resize.write('{"Width":132,"Height":50}');
  const ended = await Promise.all([all(stdout), all(error)]);
  assert.deepEqual(ended, ['80x24;132x50;', '{"metadata":{},"status":"Success"}']);
});

test('the command is told by its signal when the client leaves', async () => {
  const seen = deferred<CommandStreams>();
  const left = deferred<unknown>();
  const exec: StreamingRuntime['exec'] = async (ctx, _request, streams) => {
    seen.resolve(streams);
    await once(ctx.signal, 'abort');
    left.resolve(ctx.signal.reason);
    return 0;
  };
  await using fixture = await StreamingFixture.make({ exec });
  const peer = await fixture.spdy(fixture.exec({ stdin: false, stderr: false }));
  await openStream(peer, 'error');
  await openStream(peer, 'stdout');
  const { stdout } = await seen.promise;
  peer.socket.destroy();
  assert.equal(((await left.promise) as { code: string }).code, 'Canceled');
  await assert.rejects(async () => stdout?.write(Buffer.from('late')), { code: 'Canceled' });
});

test('output waits for a client that grants windows, and all of it arrives', async () => {
  const sizeBytes = 3 * 1024 * 1024;
  let written = 0;
  const exec: StreamingRuntime['exec'] = async (_ctx, _request, { stdout }) => {
    for (; written < sizeBytes; written += 65_536) await stdout?.write(Buffer.alloc(65_536, 'x'));
    return 0;
  };
  await using fixture = await StreamingFixture.make({ exec });
  const peer = await fixture.spdy(fixture.exec({ stdin: false, stderr: false }), 'v4.channel.k8s.io', 65_536);
  const error = await openStream(peer, 'error');
  const stdout = await openStream(peer, 'stdout');
  let before = -1;
  await until('output stands still', () => {
    const still = before === written;
    before = written;
    return still && written > 0;
  });
  // The window, and what the stream of the client holds back on its own.
  assert.ok(written <= 4 * 65_536, `${written} bytes were taken although nobody reads`);
  const [out, outcome] = await Promise.all([all(stdout), all(error)]);
  assert.equal(out.length, sizeBytes);
  assert.equal(outcome, '{"metadata":{},"status":"Success"}');
});

test('input waits for a command that does not read', async () => {
  const go = deferred();
  let read = 0;
  const exec: StreamingRuntime['exec'] = async (_ctx, _request, { stdin }) => {
    await go.promise;
    for await (const bytes of stdin ?? []) read += bytes.byteLength;
    return 0;
  };
  await using fixture = await StreamingFixture.make({ exec });
  const peer = await fixture.spdy(fixture.exec({ stdout: false, stderr: false }));
  const error = await openStream(peer, 'error');
  const stdin = await openStream(peer, 'stdin');
  let flushed = false;
  stdin.end(Buffer.alloc(1024 * 1024), () => {
    flushed = true;
  });
  const { promise: ponged, resolve } = Promise.withResolvers<void>();
  peer.ping(resolve);
  await ponged;
  assert.equal(flushed, false);
  go.resolve();
  assert.equal(await all(error), '{"metadata":{},"status":"Success"}');
  assert.equal(read, 1024 * 1024);
});

test('streams that were not asked for are refused', async () => {
  await using fixture = await StreamingFixture.make({ exec: cat });
  const peer = await fixture.spdy(fixture.exec({ stderr: false }));
  await assert.rejects(openStream(peer, 'stderr'), /REFUSED_STREAM/);
  await assert.rejects(openStream(peer, 'anything'), /REFUSED_STREAM/);
  await openStream(peer, 'stdout');
  await assert.rejects(openStream(peer, 'stdout'), /REFUSED_STREAM/);
});
