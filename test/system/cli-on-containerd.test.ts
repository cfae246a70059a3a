/**
 * The whole command line against a real containerd, the newest that the machine has: what needs signals, terminals,
 * or a registry that behaves oddly. Needs root, runc, docker-registry, skopeo and script.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fifoDirectory } from '../../src/cli/runtime-directory.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt, type Outcome } from '../support/run.ts';

const program = join(import.meta.dirname, '../../src/cli/main.ts');
const namespace = `cli-test-${process.pid}`;

describe('gantry against containerd', {
  skip: needsRoot('it runs containers'),
  concurrency: 1,
  timeout: 180_000,
}, () => {
  let daemon: Daemon;
  let registry: Registry;
  let image: string;
  let logs: string;

  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startPeer();
    image = registry.reference('busybox');
    logs = await mkdtemp(join(tmpdir(), 'gantry-cli-'));
    assert.equal((await gantry('pull', '-q', '--plain-http', image)).status, 0);
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (logs) await rm(logs, { recursive: true });
  });

  const line = (args: readonly string[]): string[] => [
    program,
    '-a',
    daemon.address,
    '-n',
    namespace,
    ...args,
  ];
  const env = () => ({ ...process.env, GANTRY_LOG_DIR: logs });
  const gantry = (...args: string[]): Promise<Outcome> =>
    attempt(process.execPath, line(args), { env: { GANTRY_LOG_DIR: logs } });
  const output = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await gantry(...args);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  /** Under a terminal, typed into once the output has what is waited for. */
  const inTerminal = (...args: string[]): Running => {
    const words = [process.execPath, ...line(args)].map((word) => `'${word}'`).join(' ');
    return new Running(spawn('script', ['-qec', words, '/dev/null'], { env: env(), stdio: 'pipe' }));
  };
  const background = (...args: string[]): Running =>
    new Running(spawn(process.execPath, line(args), { env: env(), stdio: 'pipe' }));

  test('Ctrl-P Ctrl-Q leaves a container running, attach goes on, and its exit code comes through', async () => {
    const shell = inTerminal('run', '-it', '--name', 'shell', image, 'sh');
    await shell.shows(/[#$] /);
    shell.type('echo one-$((40+2))\n');
    await shell.shows(/one-42/);
    shell.type('\u0010\u0011');
    assert.equal(await shell.exited, 0);
    assert.match(await output('ps'), / Up +shell/);
    const attached = inTerminal('attach', 'shell');
    attached.type('echo two-$((40+2))\n');
    await attached.shows(/two-42/);
    attached.type('exit 3\n');
    assert.equal(await attached.exited, 3);
    assert.match(await output('ps', '-a'), /Exited \(3\)/);
    await output('rm', 'shell');
    assert.deepEqual(await readdir(fifoDirectory({ env: process.env, uid: 0 })), []);
  });

  test("signals in the foreground are the container's", async () => {
    const script = 'trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.1; done';
    const running = background('run', '--rm', image, 'sh', '-c', script);
    await running.shows(/ready/);
    running.child.kill('SIGTERM');
    assert.equal(await running.exited, 9);
    assert.match(running.text, /bye/);
    assert.equal(await output('ps', '-aq'), '');
  });

  test('a start that fails leaves nothing behind', async () => {
    assert.equal((await gantry('run', '--name', 'x', image, 'no-such-program')).status, 127);
    assert.equal((await gantry('run', '-u', 'nobody-here', image, 'true')).status, 125);
    assert.equal(await output('ps', '-aq'), '');
    assert.doesNotMatch(await daemon.ctr('-n', namespace, 'snapshots', 'ls'), /Active/);
    assert.deepEqual(await readdir(fifoDirectory({ env: process.env, uid: 0 })), []);
  });

  test('of two that take the same name at once one wins', async () => {
    const both = await Promise.all(
      [1, 2].map(() => gantry('run', '-d', '--name', 'twin', image, 'sleep', '100')),
    );
    assert.deepEqual(
      both.map(({ status }) => status).toSorted((a, b) => a - b),
      [0, 125],
    );
    assert.equal((await output('ps', '-aq')).split('\n').length, 2);
    await output('rm', '-f', 'twin');
  });

  test('start runs it again on its own files, in the background and in the foreground', async () => {
    const script = 'echo run >> /count; wc -l < /count; cat';
    assert.equal((await gantry('run', '--name', 'again', image, 'sh', '-c', script)).stdout.trim(), '1');
    await output('start', 'again');
    await until('it has logged', async () => (await gantry('logs', 'again')).stdout.trim() === '2');
    await output('stop', '-t', '1', 'again');
    assert.equal((await output('start', '-a', 'again')).trim(), '3');
    assert.equal(await output('logs', '--tail', '1', 'again'), '2\n');
    await output('rm', 'again');
  });

  test('logs -f ends with the container', async () => {
    await output(
      'run',
      '-d',
      '--name',
      'talker',
      image,
      'sh',
      '-c',
      'for i in 1 2 3; do echo $i; sleep 0.2; done',
    );
    assert.equal(await output('logs', '-f', 'talker'), '1\n2\n3\n');
    await output('rm', '-f', 'talker');
  });

  test('pause, stats, unpause, exec by user name', async () => {
    const id = (await output('run', '-d', '--memory', '64m', image, 'sleep', '100')).trim();
    await output('pause', id.slice(0, 8));
    assert.match(await output('ps'), /Paused/);
    assert.equal((await gantry('exec', id, 'true')).status, 125);
    await output('unpause', id);
    const [usage] = JSON.parse(await output('stats', '-o', 'json', id)) as { memoryLimitBytes: number }[];
    assert.equal(usage?.memoryLimitBytes, 64 * 1024 ** 2);
    assert.equal(await output('exec', '-u', 'worker', id, 'id', '-un'), 'worker\n');
    await output('rm', '-f', id);
  });

  test('Ctrl-C gives a pull up: exit code 130', async () => {
    await using silent = await listen(() => {});
    const pulling = background('pull', '--plain-http', `${silent.host}/never:1`);
    await silent.asked;
    pulling.child.kill('SIGINT');
    assert.equal(await pulling.exited, 130);
    assert.equal(await output('images', '-q'), `${image}\n`);
  });

  test('-u reaches a registry that asks for it, and only then', async () => {
    const seen: (string | undefined)[] = [];
    await using asking = await listen((request, response) => {
      const { authorization } = request.headers;
      seen.push(authorization);
      if (authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
      else response.writeHead(404).end();
    });
    const { status, stderr } = await gantry('pull', '--plain-http', '-u', 'me:se:cret', `${asking.host}/a:1`);
    assert.equal(status, 1);
    assert.doesNotMatch(stderr, /se:cret/);
    assert.equal(seen[0], undefined);
    assert.ok(seen.includes(`Basic ${Buffer.from('me:se:cret').toString('base64')}`));
  });
});

class Running {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  text = '';

  constructor(child: ChildProcess) {
    this.child = child;
    const add = (chunk: Buffer): void => {
      this.text += chunk.toString();
    };
    child.stdout?.on('data', add);
    child.stderr?.on('data', add);
    this.exited = new Promise((resolve) => child.once('close', resolve));
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  async shows(pattern: RegExp): Promise<void> {
    await until(`the output has ${pattern}`, async () => pattern.test(this.text));
  }
}

interface FakeRegistry extends AsyncDisposable {
  readonly host: string;
  /** Resolves with the first request. */
  readonly asked: Promise<void>;
}

async function listen(handle: Parameters<typeof createServer>[1] & {}): Promise<FakeRegistry> {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const server: Server = createServer((request, response) => {
    resolve();
    (handle as (...args: unknown[]) => void)(request, response);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
