/** What /proc tells of processes (proc(5)). Each answer may be old by the time it is read; a process that is gone tells nothing. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Direct children of `pid`, of all its threads. */
export function childrenOf(pid: number): number[] {
  return entries(`/proc/${pid}/task`).flatMap((thread) =>
    numbersIn(readOrEmpty(`/proc/${pid}/task/${thread}/children`)),
  );
}

/** Every process of this pid namespace. */
export const allProcesses = (): number[] =>
  entries('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));

export const argumentsOf = (pid: number): string[] => nulSeparated(`/proc/${pid}/cmdline`);

/** What it was started with, as NAME=value. */
export const environmentOf = (pid: number): string[] => nulSeparated(`/proc/${pid}/environ`);

export function workingDirectoryOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

/** Leads a process group of its own, so that `-pid` names all of it. */
export function isGroupLeader(pid: number): boolean {
  // The name in field 2 may hold anything, also parentheses; field 5 is the group.
  const fields = readOrEmpty(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ');
  return fields?.[2] === String(pid);
}

const nulSeparated = (path: string): string[] =>
  readOrEmpty(path)
    .split('\0')
    .filter((word) => word !== '');

const numbersIn = (text: string): number[] => text.split(/\s+/).filter(Boolean).map(Number);

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
