/** Streams of containers through unmodified ctr: pipes, terminals, log URIs, large output, late readers. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';

describe('streams of containers', { concurrency: 1 }, () => {
  let daemon: Daemon;
  let registry: Registry;
  let image: string;
  let dir: string;
  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startGantry();
    image = registry.reference('busybox');
    dir = await mkdtemp(join(tmpdir(), 'gantry-io-'));
    await daemon.ctr('images', 'pull', '--plain-http', image);
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (dir) await rm(dir, { recursive: true });
  });

  // ctr itself never closes the input of a container, so the container must know where it ends.
  test('standard input reaches the container', async () => {
    const command = ['sh', '-c', 'read a; read b; echo $a; echo $b'];
    const { status, stdout } = await daemon.ctr.attempt(['run', '--rm', image, 'in', ...command], {
      input: 'one\ntwo\n',
    });
    assert.equal(status, 0);
    assert.equal(stdout, 'one\ntwo\n');
  });

  test('64 MiB of output arrive whole and in order', async () => {
    const script = 'yes 0123456789abcdef | head -c 67108864';
    const { status, stdout } = await daemon.ctr.attempt(
      ['run', '--rm', image, 'big', 'sh', '-c', script],
      {},
    );
    assert.equal(status, 0);
    const expected = createHash('sha256').update('0123456789abcdef\n'.repeat(4_000_000).slice(0, 67_108_864));
    assert.equal(createHash('sha256').update(stdout).digest('hex'), expected.digest('hex'));
  });

  test('both streams stay apart, and the last words before an exit are never cut', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { status, stdout, stderr } = await daemon.ctr.attempt([
        'run',
        '--rm',
        image,
        `last-${round}`,
        'sh',
        '-c',
        'seq 1 2000; seq 1 2000 >&2; exit 3',
      ]);
      assert.equal(status, 3);
      assert.equal(stdout.trim().split('\n').at(-1), '2000');
      assert.equal(stderr.trim().split('\n').at(-1), '2000');
    }
  });

  /** Runs ctr within a terminal of 33 rows and 101 columns. */
  const inTerminal = async (...args: string[]): Promise<string> => {
    const words = [daemon.ctr.binary, '-a', daemon.address, ...args].map((word) => `'${word}'`);
    const line = `stty rows 33 cols 101; ${words.join(' ')}`;
    const { stdout } = await attempt('script', ['-qec', line, '/dev/null'], { keepInputOpen: true });
    return stdout;
  };

  test('a terminal has its device and its size', async () => {
    const shown = await inTerminal(
      'run',
      '--rm',
      '-t',
      image,
      'term',
      'sh',
      '-c',
      'sleep 0.5; tty; stty size',
    );
    assert.match(shown, /\/dev\/pts\/0/);
    assert.match(shown, /33 101/);
  });

  test('a terminal with much output loses none of it', async () => {
    const stdout = await inTerminal('run', '--rm', '-t', image, 'term2', 'seq', '1', '20000');
    const lines = stdout.split(/\r*\n/).filter((line) => /^\d+$/.test(line));
    assert.equal(lines.length, 20_000);
  });

  test('file:// log URI holds both streams', async () => {
    const log = join(dir, 'log');
    await daemon.ctr(
      'run',
      '-d',
      '--log-uri',
      `file://${log}`,
      image,
      'file-log',
      'sh',
      '-c',
      'echo out; echo err >&2',
    );
    await until('both lines are there', async () => (await readFile(log, 'utf8')).split('\n').length === 3);
    assert.deepEqual((await readFile(log, 'utf8')).split('\n').sort(), ['', 'err', 'out']);
    await daemon.ctr('tasks', 'rm', 'file-log');
    await daemon.ctr('containers', 'rm', 'file-log');
  });

  test('binary:// log URI hands both streams to the program', async () => {
    const logger = join(dir, 'logger');
    await writeFile(
      logger,
      `#!/bin/sh\nexec >>"$2" 2>&1\necho "$CONTAINER_ID $CONTAINER_NAMESPACE"\nexec 5>&-\ncat <&3 & cat <&4\nwait\necho end\n`,
    );
    await chmod(logger, 0o755);
    const uri = `binary://${logger}?--to=${join(dir, 'binary.log')}`;
    await daemon.ctr(
      'run',
      '-d',
      '--log-uri',
      uri,
      image,
      'binary-log',
      'sh',
      '-c',
      'echo out; sleep 0.1; echo err >&2',
    );
    const log = (): Promise<string> => readFile(join(dir, 'binary.log'), 'utf8');
    await until('the logger has ended', async () => (await log()).includes('end'));
    const lines = (await log()).trim().split('\n');
    assert.equal(lines[0], 'binary-log default');
    assert.deepEqual(lines.slice(1).sort(), ['end', 'err', 'out']);
    await daemon.ctr('tasks', 'rm', 'binary-log');
    await daemon.ctr('containers', 'rm', 'binary-log');
  });

  test('--rootfs runs a directory', async () => {
    const root = join(dir, 'rootfs');
    await attempt('mkdir', ['-p', join(root, 'bin')]);
    await attempt('cp', ['/bin/busybox', join(root, 'bin/busybox')]);
    const { stdout } = await daemon.ctr.attempt([
      'run',
      '--rm',
      '--rootfs',
      root,
      'plain',
      '/bin/busybox',
      'echo',
      'plain',
    ]);
    assert.equal(stdout, 'plain\n');
  });
});
