/** The reads of the host that specs need, by node:fs; and where the image's volumes go. */
import { lstat, mkdir, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { HostDevice, HostReads, MountFacts } from './spec-facts.ts';

const isAbsent = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

export const hostReads: HostReads = {
  bindSource,
  mountOf: async (path) => mountHolding(path, await readFile('/proc/self/mountinfo', 'utf8')),
  devices: hostDevices,
  file: readSmallFile,
  apparmorProfileLoaded: async (name) => {
    const text = await readFile('/sys/kernel/security/apparmor/profiles', 'utf8').catch(() => '');
    return text.split('\n').some((line) => line.replace(/ \([a-z]+\)$/, '') === name);
  },
};

async function bindSource(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  await mkdir(path, { recursive: true, mode: 0o755 });
  return realpath(path);
}

/** Specifications and profiles are administrators' files, far smaller than this. */
async function readSmallFile(path: string): Promise<Uint8Array> {
  const { size } = await stat(path);
  if (size > limits.cdiFileBytes)
    throw invalidArgument(`${path} has ${size} bytes, more than the ${limits.cdiFileBytes} allowed`);
  return readFile(path);
}

/** Names in a directory, none where there is no such directory. */
export const listDirectory = (path: string): Promise<string[]> =>
  readdir(path).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });

/** The last mount of the text (proc_pid_mountinfo(5)) whose place holds the path. */
export function mountHolding(path: string, mountinfo: string): MountFacts {
  let best: MountFacts = { mountPoint: '/', shared: false, slave: false };
  for (const line of mountinfo.split('\n')) {
    const [, , , , place, , ...rest] = line.split(' ');
    if (place === undefined) continue;
    const mountPoint = place.replace(/\\([0-7]{3})/g, (_, code: string) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    const holds = path === mountPoint || path.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`);
    if (!holds || mountPoint.length < best.mountPoint.length) continue;
    const fields = rest.slice(0, rest.indexOf('-'));
    best = {
      mountPoint,
      shared: fields.some((field) => field.startsWith('shared:')),
      slave: fields.some((field) => field.startsWith('master:')),
    };
  }
  return best;
}

/** Below /dev, places that are of each container's own, or of other managers. */
const notDevices = new Set(['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev', 'console']);

/** Symlinks in the path itself are followed, those below a directory are not devices. */
async function hostDevices(path: string): Promise<readonly HostDevice[]> {
  const real = await realpath(path);
  const facts = await stat(real);
  if (!facts.isDirectory()) {
    const device = deviceOf(path, facts);
    if (device === undefined) throw invalidArgument('it is neither a device nor a directory of devices');
    return [device];
  }
  const found: HostDevice[] = [];
  await collect({ real, shown: path }, found);
  return found;
}

async function collect({ real, shown }: { real: string; shown: string }, found: HostDevice[]): Promise<void> {
  for (const name of await readdir(real)) {
    if (notDevices.has(name)) continue;
    const inside = { real: posix.join(real, name), shown: posix.join(shown, name) };
    const facts = await lstat(inside.real).catch(() => undefined);
    if (facts === undefined) continue;
    if (facts.isDirectory()) await collect(inside, found);
    else {
      const device = deviceOf(inside.shown, facts);
      if (device !== undefined && device.type !== 'p') found.push(device);
    }
  }
}

type Facts = Awaited<ReturnType<typeof lstat>>;

/** Linux's 64-bit device numbers: makedev(3). */
function deviceOf(path: string, { mode, rdev, uid, gid }: Facts): HostDevice | undefined {
  const type = ({ 0o020000: 'c', 0o060000: 'b', 0o010000: 'p' } as const)[Number(mode) & 0o170000];
  if (type === undefined) return undefined;
  const number = BigInt(rdev);
  const major = Number(((number >> 32n) & 0xffff_f000n) | ((number >> 8n) & 0xfffn));
  const minor = Number(((number >> 12n) & 0xffff_ff00n) | (number & 0xffn));
  return {
    path,
    type,
    ...(type !== 'p' && { major, minor }),
    fileMode: Number(mode) & 0o7777,
    uid: Number(uid),
    gid: Number(gid),
  };
}
