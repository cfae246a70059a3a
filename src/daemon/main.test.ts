/** gantryd as a process: started by its launcher, on a root of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { Events } from '../wire/gen/containerd/services/events/v1/events_pb.js';
import { Version } from '../wire/gen/containerd/services/version/v1/version_pb.js';
import { connectGrpc } from '../wire/grpc/client.ts';

const launcher = path.join(import.meta.dirname, '../../bin/gantryd');

class GantrydProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #log = '';
  #wake: (() => void)[] = [];

  constructor(
    args: readonly string[],
    { file = launcher, env = {} }: { file?: string; env?: NodeJS.ProcessEnv } = {},
  ) {
    this.#child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
      this.#look();
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        resolve(code);
        this.#look();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get log(): string {
    return this.#log;
  }

  /** Resolves once the log has it; rejects when the process ends without. */
  async logged(text: string | RegExp): Promise<void> {
    const found = (): boolean => (typeof text === 'string' ? this.#log.includes(text) : text.test(this.#log));
    while (!found()) {
      assert.equal(
        this.#child.exitCode ?? this.#child.signalCode,
        null,
        `ended without ${String(text)}:\n${this.#log}`,
      );
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  ended(): Promise<number | null> {
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #look(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'gantryd-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Its socket has one place on the machine. */
const withoutNri = '[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n';

const socket = (name = 's.sock'): string => path.join(folder, name);
function flags({ root = 'root', address = 's.sock' } = {}): string[] {
  const config = path.join(folder, 'config.toml');
  writeFileSync(config, `version = 4\n${withoutNri}`);
  return [
    '-c',
    config,
    '--root',
    path.join(folder, root),
    '--state',
    path.join(folder, `${root}-state`),
    '-a',
    socket(address),
  ];
}
const ready = 'gantryd is ready';

async function answersVersion(address: string): Promise<boolean> {
  await using connection = connectGrpc(address);
  const { version } = await connection.client(Version).version({}, { timeoutMs: 5000 });
  return version !== '';
}

function accepts(at: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(at);
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
}

describe('start', () => {
  it('serves once it says that it is ready', async () => {
    await using daemon = new GantrydProcess(flags());
    await daemon.logged(ready);
    assert.ok(await answersVersion(socket()));
  });

  it('makes the socket 0660 and root:root', async () => {
    await using daemon = new GantrydProcess(flags());
    await daemon.logged(ready);
    const { mode, uid, gid } = statSync(socket());
    assert.deepEqual([mode & 0o7777, uid, gid], [0o660, 0, 0]);
  });

  it('works through links and a wrapper of another name', async () => {
    symlinkSync(launcher, path.join(folder, 'first'));
    symlinkSync('first', path.join(folder, 'containerd'));
    const wrapper = path.join(folder, 'wrapped');
    writeFileSync(wrapper, `#!/bin/sh\nexec ${path.join(folder, 'containerd')} "$@"\n`, { mode: 0o755 });
    for (const file of [path.join(folder, 'containerd'), wrapper]) {
      const { stdout, status } = spawnSync(file, ['--version'], { cwd: '/', encoding: 'utf8' });
      assert.equal(status, 0);
      assert.match(stdout, /^gantryd \d+\.\d+\.\d+/);
    }
    await using daemon = new GantrydProcess(flags(), { file: wrapper });
    await daemon.logged(ready);
  });

  it('refuses a second daemon on the same root', async () => {
    await using first = new GantrydProcess(flags());
    await first.logged(ready);
    await using second = new GantrydProcess(flags({ address: 'other.sock' }));
    assert.equal(await second.ended(), 1);
    assert.match(
      second.log,
      /gantryd: another gantryd is running on .*root: stop it, or give this one .*--root/,
    );
    assert.ok(await answersVersion(socket()));
  });

  it('refuses a socket that is served, and replaces a stale one', async () => {
    await using first = new GantrydProcess(flags());
    await first.logged(ready);
    await using second = new GantrydProcess(flags({ root: 'other' }));
    assert.equal(await second.ended(), 1);
    assert.match(second.log, /another server is listening on/);
    first.signal('SIGKILL');
    await first.ended();
    assert.ok(existsSync(socket()));
    assert.equal(await accepts(socket()), false);
    await using third = new GantrydProcess(flags());
    await third.logged(ready);
    assert.ok(await answersVersion(socket()));
  });

  it('says what is wrong with its settings', async () => {
    const args = flags();
    const config = path.join(folder, 'config.toml');
    writeFileSync(
      config,
      "version = 4\n[plugins.'io.containerd.gc.v1.scheduler']\npause_threshold = 'much'\n",
    );
    await using daemon = new GantrydProcess(args);
    assert.equal(await daemon.ended(), 1);
    assert.match(daemon.log, /config\.toml: .*scheduler'\.pause_threshold: must be a number, not "much"/);
  });

  it('warns of an unknown key once', async () => {
    const args = flags();
    writeFileSync(path.join(folder, 'config.toml'), `version = 4\ncolour = 'red'\n${withoutNri}`);
    await using daemon = new GantrydProcess(args);
    await daemon.logged(ready);
    assert.equal(daemon.log.match(/unknown key colour is ignored/g)?.length, 1);
  });
});

describe('signals', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    it(`${signal} stops it cleanly`, async () => {
      await using daemon = new GantrydProcess(flags());
      await daemon.logged(ready);
      daemon.signal(signal);
      assert.equal(await daemon.ended(), 0);
      assert.match(daemon.log, new RegExp(`msg=stopping signal=${signal}`));
      assert.equal(existsSync(socket()), false);
    });

  it('SIGHUP reads the settings again, SIGPIPE does nothing', async () => {
    await using daemon = new GantrydProcess(flags());
    await daemon.logged(ready);
    daemon.signal('SIGHUP');
    daemon.signal('SIGPIPE');
    await daemon.logged('configuration reloaded');
    assert.ok(await answersVersion(socket()));
  });

  it('SIGUSR1 writes down what it is doing', async () => {
    await using daemon = new GantrydProcess(flags());
    await daemon.logged(ready);
    daemon.signal('SIGUSR1');
    await daemon.logged('state dump');
    assert.ok(await answersVersion(socket()));
    const dump = JSON.parse(readFileSync(path.join(folder, 'root-state/gantryd.dump'), 'utf8')) as Record<
      string,
      unknown
    >;
    assert.equal(dump['pid'], daemon.pid);
    assert.ok(JSON.stringify(dump['plugins']).includes('io.containerd.server.v1.grpc'));
    assert.doesNotMatch(daemon.log, /Debugger listening/);
  });
});

const isRoot = process.getuid?.() === 0;
it('joins the control group of the settings', {
  skip: !isRoot && 'needs root: it makes a cgroup',
}, async () => {
  const group = `/gantryd-test-${process.pid}`;
  const args = flags();
  writeFileSync(path.join(folder, 'config.toml'), `version = 3\n[cgroup]\npath = "${group}"\n${withoutNri}`);
  {
    await using daemon = new GantrydProcess(args);
    await daemon.logged(ready);
    // Of the hierarchies that have controllers, all but cpuset, which takes nobody before it is set up.
    const lines = readFileSync(`/proc/${daemon.pid}/cgroup`, 'utf8').trim().split('\n');
    const joined = lines.filter((line) => line.endsWith(`:${group}`));
    assert.ok(joined.length > 0, lines.join(' '));
    assert.ok(
      joined.length >=
        lines.filter((line) => /^\d+:(?!name=)[a-z]/.test(line) && !line.includes('cpuset')).length,
    );
    assert.doesNotMatch(daemon.log, /cgroup.*ignored/);
  }
  for (const found of globSync(`/sys/fs/cgroup{,/*}${group}`)) rmdirSync(found);
});

it('tells the service manager that it is ready and that it stops', async () => {
  const notify = path.join(folder, 'notify.sock');
  // Node has no datagram sockets of this family: a few lines of Python stand for systemd.
  const script = `import socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1]);print('bound',flush=True)
for _ in range(2): print(s.recv(4096).decode(),flush=True)`;
  const manager = spawn('python3', ['-c', script, notify], { stdio: ['ignore', 'pipe', 'inherit'] });
  const printed: string[] = [];
  const heard = new Promise<void>((resolve) => manager.once('close', () => resolve()));
  manager.stdout.setEncoding('utf8');
  const bound = new Promise<void>((resolve) => {
    manager.stdout.on('data', (text: string) => {
      printed.push(text);
      resolve();
    });
  });
  await bound;
  await using daemon = new GantrydProcess(flags(), { env: { NOTIFY_SOCKET: notify } });
  await daemon.logged(ready);
  daemon.signal('SIGTERM');
  assert.equal(await daemon.ended(), 0);
  await heard;
  assert.equal(printed.join(''), 'bound\nREADY=1\nSTOPPING=1\n');
});

it('publish forwards an event from standard input', async () => {
  await using daemon = new GantrydProcess(flags());
  await daemon.logged(ready);
  await using connection = connectGrpc(socket());
  const done = new AbortController();
  const envelopes = connection
    .client(Events)
    .subscribe({ filters: ['topic=="/test/sent"'] }, { signal: done.signal });
  const first = envelopes[Symbol.asyncIterator]().next();
  const any = create(AnySchema, { typeUrl: 'containerd.events.TaskOOM', value: Buffer.from([10, 1, 97]) });
  // Events are live only: sent again until the subscription has been there to see one.
  const received: (typeof first extends Promise<infer Result> ? Result : never)[] = [];
  void first.then((result) => received.push(result));
  while (received.length === 0) {
    const { status, stderr } = spawnSync(
      launcher,
      [...flags(), 'publish', '--topic', '/test/sent', '--namespace', 'ns'],
      { input: toBinary(AnySchema, any), encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    await Promise.race([first, new Promise((resolve) => setImmediate(resolve))]);
  }
  const envelope = received[0]?.value;
  assert.equal(envelope?.namespace, 'ns');
  assert.equal(envelope?.topic, '/test/sent');
  assert.deepEqual([...(envelope?.event?.value ?? [])], [10, 1, 97]);
  done.abort();
  const bad = spawnSync(launcher, [...flags(), 'publish', '--topic', '/test/sent'], {
    input: 'no protobuf',
    encoding: 'utf8',
  });
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /must be a serialized google\.protobuf\.Any/);
});
