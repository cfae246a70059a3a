/** The `gantry` command line against our daemon, as a person uses it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt, type Outcome, type RunOptions } from '../support/run.ts';

const binary = join(import.meta.dirname, '../../bin/gantry');

describe('gantry', { concurrency: 1 }, () => {
  let daemon: Daemon;
  let registry: Registry;
  let image: string;
  let logs: string;
  const gantry = (args: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
    attempt(binary, ['--address', daemon.address, ...args], { ...options, env: { GANTRY_LOG_DIR: logs } });
  const output = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await gantry(args);
    assert.equal(status, 0, `gantry ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  before(async () => {
    registry = await startRegistry();
    daemon = await startGantry();
    image = registry.reference('busybox');
    logs = await mkdtemp(join(tmpdir(), 'gantry-logs-'));
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (logs) await rm(logs, { recursive: true });
  });

  test('pull off a terminal prints plain lines and the image is there', async () => {
    const { status, stdout, stderr } = await gantry(['pull', '--plain-http', registry.reference('debian')]);
    assert.equal(status, 0, stderr);
    assert.equal((stdout + stderr).includes('\u001b'), false);
    assert.match(await output('images'), /sample\/debian/);
    assert.equal((JSON.parse(await output('images', '--output', 'json')) as unknown[]).length, 1);
  });

  test('pull on a terminal draws a line for each layer', async () => {
    const command = `${binary} --address ${daemon.address} pull --plain-http ${registry.reference('debian')}`;
    const { status, stdout } = await attempt('script', ['-qec', command, '/dev/null'], {});
    assert.equal(status, 0, stdout);
    assert.ok(stdout.includes('\u001b['));
  });

  test('run fetches a missing image, passes output and exit code, and leaves nothing with --rm', async () => {
    const { status, stdout, stderr } = await gantry([
      ...['run', '--rm', '--plain-http', '-e', 'A=b', '-w', '/etc', '-u', 'worker', image],
      ...['sh', '-c', 'echo $A $PWD $(id -un); echo err >&2; exit 9'],
    ]);
    assert.equal(status, 9, stderr);
    assert.equal(stdout, 'b /etc worker\n');
    assert.match(stderr, /err\n$/);
    assert.deepEqual(JSON.parse(await output('ps', '-a', '--output', 'json')), []);
    assert.equal((await daemon.ctr('snapshots', 'ls')).includes('Active'), false);
  });

  test('run -i reads standard input', async () => {
    const { stdout } = await gantry(['run', '--rm', '-i', image, 'cat'], { input: 'from outside' });
    assert.equal(stdout, 'from outside');
  });

  test('run -it is a terminal', async () => {
    const command = `${binary} --address ${daemon.address} run --rm -it ${image} sh`;
    const { status, stdout } = await attempt('script', ['-qec', command, '/dev/null'], {
      input: 'tty\nexit 6\n',
    });
    assert.match(stdout, /\/dev\/pts\/0/);
    assert.equal(status, 6);
  });

  test('limits, volumes, read-only root and host network reach the container', async () => {
    const script = 'grep x /mnt/f; touch /no; ls /sys/class/net | wc -l; hostname';
    await attempt('sh', ['-c', `echo x > ${logs}/f`]);
    const { stdout, stderr } = await gantry([
      ...[
        'run',
        '--rm',
        '--memory',
        '64m',
        '--cpus',
        '0.5',
        '--read-only',
        '--net',
        'host',
        '--hostname',
        'box',
      ],
      ...['-v', `${logs}:/mnt:ro`, image, 'sh', '-c', script],
    ]);
    assert.match(stdout, /^x\n/);
    assert.match(stderr, /Read-only file system/);
    assert.match(stdout, /box\n$/);
  });

  test('a detached container: ps, logs, exec, inspect, stop, rm', async () => {
    await output(
      'run',
      '-d',
      '--name',
      'web',
      image,
      'sh',
      '-c',
      'echo started; trap "exit 0" TERM; while :; do sleep 0.1; done',
    );
    assert.match(await output('ps'), /web/);
    await until('the log has the line', async () => (await output('logs', 'web')) === 'started\n');
    assert.equal(await output('exec', 'web', 'echo', 'inside'), 'inside\n');
    assert.equal((await gantry(['exec', 'web', 'sh', '-c', 'exit 4'])).status, 4);
    assert.match(await output('inspect', 'web'), /sample\/busybox/);
    assert.notEqual(
      (await gantry(['rm', 'web'])).status,
      0,
      'a running container was removed without --force',
    );
    assert.notEqual(
      (await gantry(['run', '-d', '--name', 'web', image, 'true'])).status,
      0,
      'the name was given twice',
    );
    await output('stop', '-t', '5', 'web');
    assert.doesNotMatch(await output('ps'), /web/);
    assert.match(await output('ps', '-a'), /web/);
    await output('rm', 'web');
    assert.doesNotMatch(await output('ps', '-a'), /web/);
  });

  test('kill, and rm of several', async () => {
    for (const name of ['k1', 'k2']) await output('run', '-d', '--name', name, image, 'sleep', '1000');
    await output('kill', '-s', 'KILL', 'k1');
    await until('k1 is gone from ps', async () => !(await output('ps')).includes('k1'));
    await output('rm', '-f', 'k1', 'k2');
    assert.deepEqual(JSON.parse(await output('ps', '-a', '--output', 'json')), []);
  });

  test('errors say what failed, why and what to do', async () => {
    const absent = await attempt(binary, ['--address', '/run/absent.sock', 'ps']);
    assert.equal(absent.status, 1);
    assert.match(absent.stderr, /\/run\/absent\.sock/);
    const image404 = await gantry(['pull', '--plain-http', `${registry.host}/absent:latest`]);
    assert.equal(image404.status, 1);
    assert.match(image404.stderr, /not found/);
    assert.equal((await gantry(['run', '--rm', image, 'no-such-program'])).status, 127);
    assert.equal((await gantry(['run', '--rm', image, '/etc/passwd'])).status, 126);
    assert.equal((await gantry(['run', '--nonsense'])).status, 2);
    assert.equal((await gantry(['exec', 'absent', 'true'])).status === 0, false);
  });

  test('version, info, rmi and --help on each command', async () => {
    assert.match(await output('version'), /\d+\.\d+\.\d+/);
    assert.match(await output('info'), new RegExp(daemon.root));
    await output('rmi', image);
    assert.doesNotMatch(await output('images'), /busybox/);
    for (const command of [
      'pull',
      'run',
      'ps',
      'exec',
      'logs',
      'stop',
      'kill',
      'rm',
      'images',
      'rmi',
      'inspect',
    ])
      assert.match(await output(command, '--help'), /Usage: gantry/);
  });
});
