/**
 * What runc itself has written of a container (`<root>/<id>/state.json`), as far as its start and its delete depend on
 * it. Read only of a program that is runc beyond doubt, and only where every word is as expected: for everything else
 * there is runc. With it the two may be done here, without a process (exec-fifo.ts, direct-delete.ts).
 */
import { closeSync, openSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { resolveProgram } from '../../platform/program-path.ts';
import type { RuncSetup } from './runc-arguments.ts';

export interface RuncState {
  /** runc's own directory of the container. */
  readonly directory: string;
  readonly pid: number;
  /** Its start time in clock ticks. */
  readonly startTicks: bigint;
  /** Directories of the container in all hierarchies; runc makes them by itself. */
  readonly cgroups: readonly string[];
  readonly systemdCgroup: boolean;
  readonly ownPidNamespace: boolean;
  /** Hooks that a later runc runs at the start, though 1.1 ran them at the create. */
  readonly hasPoststart: boolean;
  readonly hasPoststop: boolean;
  /** Groups of the memory and cache controller that have to be taken away too. */
  readonly hasIntelRdt: boolean;
}

/** Undefined when another program made the container, or there is any doubt. */
export function readRuncState(setup: RuncSetup, id: string): RuncState | undefined {
  if (!isRunc(setup.binary)) return undefined;
  const directory = join(setup.root, id);
  try {
    const state = JSON.parse(readFileSync(join(directory, 'state.json'), 'utf8')) as unknown;
    return isRecord(state) && state['id'] === id ? parseState(state, directory) : undefined;
  } catch {
    return undefined;
  }
}

export function parseState(
  state: Readonly<Record<string, unknown>>,
  directory: string,
): RuncState | undefined {
  const { config, init_process_pid: pid, init_process_start: start, cgroup_paths: cgroupPaths } = state;
  if (!isRecord(config) || !isRecord(cgroupPaths) || !isRecord(state['namespace_paths'])) return undefined;
  const { namespaces, cgroups, Hooks: hooks } = config;
  if (!Array.isArray(namespaces) || !namespaces.every(isRecord) || !isRecord(cgroups)) return undefined;
  if (typeof cgroups['Systemd'] !== 'boolean' || state['rootless'] !== false) return undefined;
  if (!isCount(pid) || !isCount(start) || typeof state['intel_rdt_path'] !== 'string') return undefined;
  const poststart = hooksOf(hooks, 'poststart');
  const poststop = hooksOf(hooks, 'poststop');
  const paths = Object.values(cgroupPaths);
  if (poststart === undefined || poststop === undefined || !paths.every(isCgroupPath)) return undefined;
  return {
    directory,
    pid,
    startTicks: BigInt(start),
    cgroups: [...new Set(paths)],
    systemdCgroup: cgroups['Systemd'],
    ownPidNamespace: namespaces.some(({ type, path }) => type === 'NEWPID' && path === ''),
    hasPoststart: poststart > 0,
    hasPoststop: poststop > 0,
    hasIntelRdt:
      state['intel_rdt_path'] !== '' || (config['intel_rdt'] ?? config['intelRdt'] ?? null) !== null,
  };
}

type Unknowns = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Unknowns =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

const isCgroupPath = (value: unknown): value is string =>
  typeof value === 'string' && value.startsWith('/sys/fs/cgroup/') && join(value) === value;

/** How many there are; undefined for what is no list of hooks. */
function hooksOf(hooks: unknown, name: string): number | undefined {
  if (hooks === null || hooks === undefined) return 0;
  if (!isRecord(hooks)) return undefined;
  const list = hooks[name] ?? [];
  return Array.isArray(list) ? list.length : undefined;
}

const elfMagic = Buffer.from('\x7fELF', 'latin1');
let lastChecked: { readonly path: string; readonly isProgram: boolean } | undefined;

/**
 * runc by name, and a program and no script: a script of its name, which does more than runc or something else, is
 * run for every step.
 */
function isRunc(binary: string): boolean {
  if (basename(binary) !== 'runc') return false;
  try {
    const path = realpathSync(resolveProgram(binary, process.env));
    // Another runtime under its name, which may keep the same kind of state and do more.
    if (basename(path) !== 'runc') return false;
    const { dev, ino, mtimeMs } = statSync(path);
    const key = `${path} ${dev} ${ino} ${mtimeMs}`;
    if (lastChecked?.path !== key) lastChecked = { path: key, isProgram: isProgram(path) };
    return lastChecked.isProgram;
  } catch {
    return false;
  }
}

function isProgram(path: string): boolean {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(elfMagic.length);
    readSync(fd, head, 0, head.length, 0);
    return head.equals(elfMagic);
  } finally {
    closeSync(fd);
  }
}
