/**
 * `npm run demo`: a daemon on a private root, a sample image made from this machine's busybox and served over loopback,
 * pulled, run, shown, and everything taken away again. Exit 0 only when all of that worked.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buildImage, type FileTree, publish } from '../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../src/testing/registry/test-registry.ts';

const root = path.join(import.meta.dirname, '..');
const say = (text: string): void => console.log(`\n== ${text}`);

await using cleanup = new AsyncDisposableStack();

const folder = mkdtempSync(path.join(tmpdir(), 'gantry-demo-'));
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const address = path.join(folder, 'gantry.sock');

say('an image of busybox, served by a registry on loopback');
const registry = cleanup.use(await TestRegistry.start());
const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch };
publish(
  registry.storage,
  'demo/busybox',
  'latest',
  buildImage([busyboxTree()], { platform, run: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] } }),
);
const image = `${registry.host}/demo/busybox:latest`;
console.log(image);

say('the daemon, on a root of its own');
cleanup.use(await startDaemon());

say('gantry pull');
await gantry('pull', '--plain-http', image);

say('gantry images');
await gantry('images');

say('gantry run');
const greeting = 'hello from a container';
const output = await gantry(
  'run',
  '--rm',
  image,
  '/bin/sh',
  '-c',
  `echo ${greeting}; echo "I am process $$ of $(hostname), on $(uname -sr)"; ls /`,
);
assert.ok(output.includes(greeting), 'the container said something else');
say('done: all of it worked, and is taken away again');

function busyboxTree(): FileTree {
  const file = ['/bin/busybox', '/usr/bin/busybox'].find((candidate) => existsSync(candidate));
  assert.ok(file, 'busybox is not installed: apt-get install busybox-static');
  const applets = spawnSync(file, ['--list'], { encoding: 'utf8' }).stdout.trim().split('\n');
  return {
    'bin/': { mode: 0o755 },
    'bin/busybox': { content: readFileSync(file), mode: 0o755 },
    ...Object.fromEntries(
      applets
        .filter((name) => name !== 'busybox')
        .map((name) => [`bin/${name}`, { kind: 'symlink', link: 'busybox' } as const]),
    ),
    'etc/': { mode: 0o755 },
    'etc/passwd': 'root:x:0:0:root:/:/bin/sh\n',
    'etc/group': 'root:x:0:\n',
    'proc/': { mode: 0o555 },
    'sys/': { mode: 0o555 },
    'dev/': { mode: 0o755 },
    'tmp/': { mode: 0o1777 },
    'run/': { mode: 0o755 },
  };
}

async function startDaemon(): Promise<AsyncDisposable> {
  const config = path.join(folder, 'config.toml');
  // The demonstration stays in its folder.
  writeFileSync(config, 'version = 4\n[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n');
  const args = ['-c', config, '--root', path.join(folder, 'root'), '--state', path.join(folder, 'state')];
  const child = spawn(path.join(root, 'bin/gantryd'), [...args, '--address', address], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (log.includes('gantryd is ready')) resolve();
  });
  const ended = endOf(child);
  void ended.then((status) => reject(new Error(`gantryd ended with ${String(status)}:\n${log}`)));
  await ready;
  console.log(`listening on ${address}`);
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => {
    child.once('error', () => resolve(null));
    child.once('close', (status) => resolve(status));
  });
}

/** Runs our command line, shows what it prints, and fails with it. */
async function gantry(...args: readonly string[]): Promise<string> {
  console.log(`$ gantry ${args.join(' ')}`);
  const child = spawn(path.join(root, 'bin/gantry'), ['--address', address, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    process.stdout.write(text);
  });
  assert.equal(await endOf(child), 0, `gantry ${args[0] ?? ''} failed`);
  return printed;
}
