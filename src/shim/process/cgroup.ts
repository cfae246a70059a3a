/**
 * The cgroup of a container, as far as the shim itself asks: which processes are in it, and whether the kernel killed
 * any for want of memory. Read from the files directly (cgroups(7)), without a runc process.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MountInfo } from '../../platform/platform.ts';

export interface ContainerCgroup {
  /** Directory whose cgroup.procs names the processes. */
  readonly processes: string;
  /** File with a line `oom_kill N`; undefined without a memory controller. */
  readonly oomFile: string | undefined;
}

/** Version 1 controllers that runc always joins, in the order in which they are asked. */
const processControllers = ['pids', 'devices', 'memory', 'freezer'] as const;

/** Lines of /proc/PID/cgroup: controllers (none for version 2) and path. */
function parseLines(text: string): { controllers: readonly string[]; path: string }[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) return [];
    const [, names = '', path = '/'] = match;
    return [{ controllers: names === '' ? [] : names.split(','), path }];
  });
}

/** Undefined for a process in no cgroup of its own (the root), or without mounted cgroups. */
export function findCgroup(procText: string, mounts: readonly MountInfo[]): ContainerCgroup | undefined {
  const lines = parseLines(procText);
  const version1 = (controller: string): string | undefined => {
    const path = lines.find(({ controllers }) => controllers.includes(controller))?.path;
    const mount = mounts.find(
      ({ fileSystemType, superOptions }) => fileSystemType === 'cgroup' && superOptions.includes(controller),
    );
    return path === undefined || path === '/' || mount === undefined ? undefined : join(mount.mountPoint, path);
  };
  const processes = processControllers.map(version1).find((path) => path !== undefined);
  if (processes !== undefined) {
    const memory = version1('memory');
    return { processes, oomFile: memory === undefined ? undefined : join(memory, 'memory.oom_control') };
  }
  const path = lines.find(({ controllers }) => controllers.length === 0)?.path;
  const mount = mounts.find(({ fileSystemType }) => fileSystemType === 'cgroup2');
  if (path === undefined || path === '/' || mount === undefined) return undefined;
  const directory = join(mount.mountPoint, path);
  return { processes: directory, oomFile: join(directory, 'memory.events') };
}

/** Processes in the cgroup and those below it, each once. Empty when it is gone. */
export function processesIn(directory: string): number[] {
  const pids = new Set<number>();
  const visit = (path: string): void => {
    for (const line of readOrEmpty(join(path, 'cgroup.procs')).split('\n')) if (line !== '') pids.add(Number(line));
    for (const entry of directoriesIn(path)) visit(join(path, entry));
  };
  visit(directory);
  return [...pids];
}

/** How many processes the kernel has killed for want of memory. */
export function oomKills(file: string): number {
  return Number(/^oom_kill (\d+)$/m.exec(readOrEmpty(file))?.[1] ?? 0);
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function directoriesIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}
