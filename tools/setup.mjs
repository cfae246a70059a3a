/**
 * Makes a fresh machine ready for one of our commands: `node tools/setup.mjs test|demo|start`.
 *
 * Plain JavaScript, because it runs on the system's Node (20 or newer) before anything is installed. It says what it
 * is about to do, does it only where something is missing, and starts no service.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..');

/** Debian package to a file that tells it is there, for each command. */
const run = [
  ['runc', ['runc']],
  ['busybox-static', ['busybox']],
];
/** Found by its file, of whichever architecture. */
const isal = ['libisal2', ['x86_64', 'aarch64'].map((name) => `/usr/lib/${name}-linux-gnu/libisal.so.2`)];
const needs = {
  start: [['runc', ['runc']]],
  demo: [...run, isal],
  test: [
    ...run,
    isal,
    ['containernetworking-plugins', ['/usr/lib/cni/bridge', '/opt/cni/bin/bridge']],
    ['containerd', ['containerd']],
    ['docker.io', ['dockerd']],
    ['docker-registry', ['docker-registry']],
    ['skopeo', ['skopeo']],
    ['umoci', ['umoci']],
    ['debootstrap', ['debootstrap']],
    ['iptables', ['iptables']],
    ['attr', ['setfattr']],
    ['e2fsprogs', ['mkfs.ext4']],
    ['erofs-utils', ['mkfs.erofs']],
    ['procps', ['pgrep']],
    ['strace', ['strace']],
    ['xz-utils', ['xz']],
    ['zstd', ['zstd']],
  ],
};

const command = process.argv[2] ?? 'test';
if (!Object.hasOwn(needs, command)) fail(`unknown command ${command}: use ${Object.keys(needs).join(', ')}`);

if (Number(process.versions.node.split('.')[0]) < 20)
  fail(`Node ${process.versions.node} is too old to install with: Node 20 or newer is needed`);
installNodePackages();
installSystemPackages(needs[command]);

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}

function step(file, args, options = {}) {
  console.error(`setup: ${file} ${args.join(' ')}`);
  const { status, error } = spawnSync(file, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (error !== undefined) fail(`${file} cannot be run: ${error.message}`);
  return status === 0;
}

/** npm keeps what it installed in node_modules/.package-lock.json: `npm ci` only when that is not the lock file's. */
function installNodePackages() {
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8'));
  const installedFile = path.join(root, 'node_modules/.package-lock.json');
  const installed = existsSync(installedFile)
    ? JSON.parse(readFileSync(installedFile, 'utf8'))
    : { packages: {} };
  const differs = Object.entries(lock.packages).some(([place, wanted]) => {
    if (place === '') return false;
    const here = installed.packages[place];
    if (here !== undefined) return here.version !== wanted.version;
    return wanted.optional !== true || place === `node_modules/node-linux-${process.arch}`;
  });
  if (!differs) return;
  console.error(
    'setup: the npm packages of package-lock.json are not installed; installing them into node_modules',
  );
  // Our native packages bring their binaries, so no package's own script has to run.
  if (!step('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']))
    fail('npm ci failed: see above; the npm registry must be reachable');
}

function installSystemPackages(list) {
  const missing = list.filter(([, files]) => !files.some((file) => find(file))).map(([name]) => name);
  if (missing.length === 0) return;
  console.error(`setup: missing Debian packages: ${missing.join(' ')}`);
  if (process.getuid?.() !== 0)
    fail(`run as root, or install them first: apt-get install --no-install-recommends ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  step('apt-get', ['-q', 'update'], { env });
  if (!step('apt-get', ['-q', 'install', '-y', '--no-install-recommends', ...missing], { env }))
    fail('apt-get install failed: see above; a Debian archive must be reachable');
}

function find(file) {
  const folders = file.startsWith('/')
    ? ['']
    : [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return folders.some(
    (folder) => statSync(path.join(folder, file), { throwIfNoEntry: false })?.isFile() === true,
  );
}
