/** CRI logs and attached clients over real runc (needs root). */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  type AttachedProcess,
  type AttachStreams,
  ShimStreams,
} from '../../src/core/runtime/streams/attached-process.ts';
import { ShimWorld } from '../../src/shim/shim-world.fixture.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';

const stream = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (?<rest>.*)$/;

/** Without their times. */
const linesOf = (path: string): string[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => stream.exec(line)?.groups?.['rest'] ?? `torn: ${line}`);

async function textOf(attached: AttachedProcess): Promise<Record<'stdout' | 'stderr', string>> {
  const text = { stdout: '', stderr: '' };
  for await (const chunk of attached.output()) text[chunk.stream] += Buffer.from(chunk.bytes).toString();
  return text;
}

const outputs: AttachStreams = { stdin: false, stdout: true, stderr: true, lossless: true };
const everything: AttachStreams = { ...outputs, stdin: true };

describe('logs and attached clients over runc, as root', {
  skip: needsRoot('it runs containers by runc'),
}, () => {
  let world: ShimWorld;
  let streams: ShimStreams;
  before(async () => {
    world = await ShimWorld.make('shim-logs-test');
    streams = new ShimStreams({ connection: world.connection });
  });
  after(() => world[Symbol.asyncDispose]());

  const attach = (id: string, options: AttachStreams, execId = ''): Promise<AttachedProcess> =>
    streams.attach({ namespace: world.namespace, id, execId }, options);
  const logged = (name: string, query = ''): { path: string; stdout: string; stderr: string } => {
    const path = join(world.root, 'pods', name);
    return { path, stdout: `cri://${path}${query}`, stderr: `cri://${path}${query}` };
  };
  const run = async (script: string, io: Parameters<ShimWorld['make']>[1]): Promise<string> => {
    const { id } = await world.make(['/bin/sh', '-c', script], io);
    await world.tasks.start({ id });
    return id;
  };

  test('both outputs in one file, whole when the exit is told', async () => {
    const { path, ...io } = logged('both.log');
    const id = await run('seq 20000 & seq 20000 >&2 & wait; printf end', io);
    await world.arrived(() => world.topics(id).includes(`exit ${id}`));
    const lines = linesOf(path);
    assert.equal(statSync(path).mode & 0o777, 0o640);
    const numbers = Array.from({ length: 20_000 }, (_, index) => `F ${index + 1}`);
    const of = (name: string): string[] =>
      lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length + 1));
    assert.deepEqual(of('stdout'), [...numbers, 'P end']);
    assert.deepEqual(of('stderr'), numbers);
    assert.equal(await world.finish(id), 0);
  });

  test('long lines are cut', async () => {
    const { path, ...io } = logged('cut.log', '?max-line=4');
    const id = await run('echo abcdefghij', io);
    assert.equal(await world.finish(id), 0);
    assert.deepEqual(linesOf(path), ['stdout P abcd', 'stdout P efgh', 'stdout F ij']);
  });

  test('a path that cannot be opened is an error of the create, and no other one', async () => {
    await assert.rejects(run('true', { stdout: `cri://${world.root}`, stderr: '' }), /EISDIR/);
    await assert.rejects(run('true', { stdout: 'cri:///x?max-line=-1', stderr: '' }), {
      code: 'InvalidArgument',
    });
  });

  test('a full disk loses output, and holds nobody up', async () => {
    const id = await run('seq 200000', { stdout: 'cri:///dev/full', stderr: '' });
    assert.equal(await world.finish(id), 0);
  });

  test('it is opened anew under load, and nothing is lost or torn', async () => {
    const { path, ...io } = logged('anew.log');
    const id = await run('seq 1 400000', io);
    const files: string[] = [];
    while (!world.topics(id).includes(`exit ${id}`)) {
      const renamed = `${path}.${files.length}`;
      await until('there is a log', () => statSync(path, { throwIfNoEntry: false }) !== undefined);
      renameSync(path, renamed);
      files.push(renamed);
      await streams.reopen({ namespace: world.namespace, id, execId: '' });
    }
    const lines = [...files, path].flatMap(linesOf);
    assert.deepEqual(
      lines,
      Array.from({ length: 400_000 }, (_, index) => `stdout F ${index + 1}`),
    );
    assert.equal(await world.finish(id), 0);
  });

  test('clients come and go beside the log, and bring input', async () => {
    const { path, ...io } = logged('clients.log');
    const { id } = await world.make(['/bin/cat'], { ...io, stdin: 'cri://' });
    const first = await attach(id, everything);
    await world.tasks.start({ id });
    await first.write(Buffer.from('one\n'));
    const [chunk] = await Array.fromAsync({
      async *[Symbol.asyncIterator]() {
        for await (const part of first.output()) {
          yield part;
          return;
        }
      },
    });
    assert.equal(Buffer.from(chunk?.bytes ?? []).toString(), 'one\n');
    first.closeStdin();
    await first[Symbol.asyncDispose]();
    await using second = await attach(id, everything);
    await using third = await attach(id, outputs);
    const texts = Promise.all([textOf(second), textOf(third)]);
    await second.write(Buffer.from('two\n'));
    await until('it is logged', () => linesOf(path).length === 2);
    await world.tasks.kill({ id, signal: 9 });
    assert.deepEqual(await texts, [
      { stdout: 'two\n', stderr: '' },
      { stdout: 'two\n', stderr: '' },
    ]);
    assert.equal(await world.finish(id), 137);
    assert.deepEqual(linesOf(path), ['stdout F one', 'stdout F two']);
  });

  test('input for one client ends with its half close, or with the client', async () => {
    for (const end of ['close', 'leave'] as const) {
      const { path, ...io } = logged(`once-${end}.log`);
      const { id } = await world.make(['/bin/cat'], { ...io, stdin: 'cri://?once' });
      const client = await attach(id, everything);
      await world.tasks.start({ id });
      const large = Buffer.alloc(1_500_000, 'x');
      const text = textOf(client);
      await client.write(large);
      await client.write(Buffer.from('\n'));
      if (end === 'close') {
        client.closeStdin();
        assert.equal((await text).stdout.length, large.length + 1);
      }
      await client[Symbol.asyncDispose]();
      assert.equal(await world.finish(id), 0);
      if (end === 'close')
        assert.equal(
          linesOf(path)
            .join('')
            .replaceAll(/stdout [FP] /g, '').length,
          large.length,
        );
    }
  });

  test('a slow client is dropped and told so; the others and the log get everything', async () => {
    const { path, ...io } = logged('slow.log');
    const { id } = await world.make(['/bin/sh', '-c', 'seq 400000'], io);
    await using slow = await attach(id, { ...outputs, lossless: false });
    await using quick = await attach(id, outputs);
    const text = textOf(quick);
    await world.tasks.start({ id });
    assert.equal((await text).stdout.split('\n').length, 400_001);
    await assert.rejects(textOf(slow), { code: 'ResourceExhausted', message: /too slow/ });
    assert.equal(await world.finish(id), 0);
    assert.equal(linesOf(path).length, 400_000);
  });

  test('an exec without a log: its client is waited for, and gets every byte of both outputs', async () => {
    const id = await run('cat', { stdin: 'in' });
    const io = { stdin: 'cri://?once', stdout: 'cri://', stderr: 'cri://' };
    await world.exec(id, 'x', ['/bin/sh', '-c', 'cat; seq 300000; echo done >&2'], io);
    await using client = await attach(id, everything, 'x');
    await world.tasks.start({ id, execId: 'x' });
    await client.write(Buffer.from('in\n'));
    client.closeStdin();
    // Nothing is read until more is there than may wait anywhere.
    const waited = world.tasks.wait({ id, execId: 'x' });
    const text = await textOf(client);
    assert.equal(
      text.stdout,
      `in\n${Array.from({ length: 300_000 }, (_, index) => `${index + 1}\n`).join('')}`,
    );
    assert.equal(text.stderr, 'done\n');
    assert.equal((await waited).exitStatus, 0);
    await world.tasks.delete({ id, execId: 'x' });
    await assert.rejects(attach(id, outputs), { code: 'FailedPrecondition' });
    await assert.rejects(streams.reopen({ namespace: world.namespace, id, execId: '' }), {
      code: 'FailedPrecondition',
    });
    await assert.rejects(attach('nobody', outputs), { code: 'NotFound' });
    await world.tasks.kill({ id, signal: 9 });
    await world.finish(id);
  });

  test('a terminal: log, client, input', async () => {
    const { path, stdout } = logged('terminal.log');
    const { id } = await world.make(['/bin/sh', '-c', 'read a; stty size; echo got $a'], {
      ...{ stdout, stderr: '', stdin: 'cri://', terminal: true },
    });
    await using client = await attach(id, everything);
    const text = textOf(client);
    await world.tasks.start({ id });
    await world.tasks.resizePty({ id, width: 93, height: 31 });
    await client.write(Buffer.from('it\n'));
    assert.equal((await text).stdout, 'it\r\n31 93\r\ngot it\r\n');
    assert.equal(await world.finish(id), 0);
    assert.deepEqual(linesOf(path), ['stdout F it', 'stdout F 31 93', 'stdout F got it']);
  });
});
