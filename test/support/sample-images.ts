/**
 * The images that the system tests pull, made from what Debian has and kept in a cache directory.
 *
 * `busybox` is one small layer. `debian` has six layers over a debootstrapped minbase: files added, replaced, deleted
 * and hidden, directories replaced by files, hard links, device nodes, setuid, xattrs, long names. Both as an OCI
 * layout, which skopeo copies into a registry.
 */
import { existsSync } from 'node:fs';
import {
  chmod,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { cacheRoot } from './peers.ts';
import { attempt, run } from './run.ts';

/** Bump when what is built changes. */
const edition = '4';

/** Of machine code, so that it compresses as real programs do: about 75 MB of layers in all. */
const bigFileBytes = 20 * 1024 * 1024;

const cacheDir = join(cacheRoot, 'test');
const sampleLayout = join(cacheDir, `samples-${edition}`);
export const sampleTags = ['busybox', 'debian'] as const;

/** Makes the layout if it is not there; safe when several test files ask at once. */
export async function ensureSampleImages(): Promise<string> {
  await mkdir(cacheDir, { recursive: true });
  // flock(1) holds the lock for as long as the builder runs; the others then find the layout done.
  if (!existsSync(sampleLayout))
    await run('flock', [join(cacheDir, 'samples.lock'), process.execPath, import.meta.filename], {
      timeoutMs: 900_000,
    });
  return sampleLayout;
}

async function build(): Promise<void> {
  await mkdir(cacheDir, { recursive: true });
  if (existsSync(sampleLayout)) return;
  const work = await mkdtemp(join(cacheDir, 'building-'));
  try {
    const layout = join(work, 'layout');
    await run('umoci', ['init', '--layout', layout]);
    await buildBusybox(work, layout);
    await buildDebian(work, layout);
    await run('umoci', ['gc', '--layout', layout]);
    await rename(layout, sampleLayout);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function buildBusybox(work: string, layout: string): Promise<void> {
  const image = `${layout}:busybox`;
  await run('umoci', ['new', '--image', image]);
  const bundle = await unpack(image, work, 'busybox');
  const root = join(bundle, 'rootfs');
  for (const dir of ['bin', 'etc', 'proc', 'sys', 'dev', 'root', 'var', 'home']) await mkdir(join(root, dir));
  await mkdir(join(root, 'tmp'));
  await chmod(join(root, 'tmp'), 0o1777);
  await copyFile('/bin/busybox', join(root, 'bin/busybox'));
  await chmod(join(root, 'bin/busybox'), 0o755);
  for (const applet of (await run('/bin/busybox', ['--list'])).trim().split('\n'))
    if (applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
  await writeFile(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000:worker:/home:/bin/sh\n',
  );
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nworker:x:1000:\nextra:x:2000:worker\n');
  await run('umoci', ['repack', '--image', image, bundle]);
  await run('umoci', [
    'config',
    '--image',
    image,
    '--config.cmd',
    'sh',
    '--config.env',
    'PATH=/bin',
    '--config.env',
    'SAMPLE=busybox',
    '--os',
    'linux',
    '--architecture',
    architecture(),
  ]);
}

/** Each step is one layer. */
const debianLayers: readonly ((root: string) => Promise<void>)[] = [
  async (root) => {
    await mkdir(join(root, 'opt/app/data'), { recursive: true });
    for (let i = 0; i < 300; i += 1)
      await writeFile(join(root, `opt/app/data/file-${i}`), `content of ${i}\n`.repeat(40));
    await writeFile(join(root, 'opt/app/big'), (await readFile(process.execPath)).subarray(0, bigFileBytes));
    await link(join(root, 'opt/app/big'), join(root, 'opt/app/big-link'));
  },
  async (root) => {
    await rm(join(root, 'usr/share/doc'), { recursive: true, force: true });
    await rm(join(root, 'opt/app/data/file-7'));
    await rm(join(root, 'etc/motd'), { force: true });
  },
  async (root) => {
    await rm(join(root, 'opt/app/data'), { recursive: true });
    await mkdir(join(root, 'opt/app/data'));
    await writeFile(join(root, 'opt/app/data/only'), 'the directory was replaced\n');
    await mkdir(join(root, 'srv/was-directory'));
    await writeFile(join(root, 'srv/was-file'), 'a file\n');
  },
  async (root) => {
    await rm(join(root, 'srv/was-directory'), { recursive: true });
    await writeFile(join(root, 'srv/was-directory'), 'now a file\n');
    await rm(join(root, 'srv/was-file'));
    await mkdir(join(root, 'srv/was-file'));
    await symlink('/etc/hostname', join(root, 'srv/absolute-link'));
    await link(join(root, 'opt/app/big'), join(root, 'srv/link-to-lower'));
  },
  async (root) => {
    const long = join(root, 'srv', 'long-'.repeat(40), 'name-'.repeat(40));
    await mkdir(long, { recursive: true });
    await writeFile(join(long, 'file'), 'deep\n');
    await run('mknod', [join(root, 'srv/null'), 'c', '1', '3']);
    await run('mkfifo', [join(root, 'srv/fifo')]);
    await copyFile('/bin/busybox', join(root, 'srv/setuid'));
    await chmod(join(root, 'srv/setuid'), 0o4755);
    await run('setfattr', ['-n', 'user.sample', '-v', 'value', join(root, 'srv/setuid')]);
    await run('chown', ['1000:1000', join(root, 'srv/fifo')]);
    await run('touch', ['-d', '2001-02-03T04:05:06.123456789Z', join(root, 'srv/setuid')]);
  },
];

async function buildDebian(work: string, layout: string): Promise<void> {
  const image = `${layout}:debian`;
  await run('umoci', ['new', '--image', image]);
  let bundle = await unpack(image, work, 'debian');
  const root = join(bundle, 'rootfs');
  await run('debootstrap', ['--variant=minbase', 'bookworm', root, await debianMirror()], {
    timeoutMs: 600_000,
  });
  await rm(join(root, 'var/cache/apt/archives'), { recursive: true, force: true });
  await run('umoci', ['repack', '--image', image, bundle], { timeoutMs: 300_000 });
  await rm(bundle, { recursive: true });
  for (const [index, change] of debianLayers.entries()) {
    bundle = await unpack(image, work, `debian-${index}`);
    await change(join(bundle, 'rootfs'));
    await run('umoci', ['repack', '--image', image, bundle], { timeoutMs: 300_000 });
    await rm(bundle, { recursive: true });
  }
  await run('umoci', [
    'config',
    '--image',
    image,
    '--config.cmd',
    'bash',
    '--os',
    'linux',
    '--architecture',
    architecture(),
  ]);
}

async function unpack(image: string, work: string, name: string): Promise<string> {
  const bundle = join(work, `bundle-${name}`);
  await run('umoci', ['unpack', '--image', image, bundle], { timeoutMs: 300_000 });
  return bundle;
}

const architecture = (): string => (process.arch === 'x64' ? 'amd64' : process.arch);

/** The mirror that apt on this machine uses, so that nothing else is contacted. */
async function debianMirror(): Promise<string> {
  const { stdout } = await attempt('sh', [
    '-c',
    "cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | awk '/^URIs:/ && $2 !~ /security/ {print $2; exit} /^deb / && $2 !~ /security/ {print $2; exit}'",
  ]);
  const mirror = stdout.trim();
  if (!/^https?:\/\//.test(mirror))
    throw new Error('no Debian mirror found in the apt sources of this machine');
  return mirror;
}

if (import.meta.main) await build();
