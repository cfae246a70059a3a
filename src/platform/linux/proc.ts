/**
 * What /proc tells of processes (proc(5)). Each answer may be old by the time it is read; a process that is gone tells
 * nothing.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Fields of /proc/PID/stat from the third on; the second may hold spaces and brackets. Undefined when it is gone. */
export function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** Place in `statFields` of field `number` of the manual page. */
export const statField = (number: number): number => number - 3;

/** Every process of this pid namespace. */
export const allProcesses = (): number[] =>
  entries('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));

/** Direct children, of all threads. */
export const childrenOf = (pid: number): number[] =>
  entries(`/proc/${pid}/task`).flatMap((thread) =>
    readOrEmpty(`/proc/${pid}/task/${thread}/children`).split(/\s+/).filter(Boolean).map(Number),
  );

export const argumentsOf = (pid: number): string[] => nulSeparated(`/proc/${pid}/cmdline`);

export const environmentOf = (pid: number): string[] => nulSeparated(`/proc/${pid}/environ`);

export function workingDirectoryOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

const nulSeparated = (path: string): string[] =>
  readOrEmpty(path)
    .split('\0')
    .filter((word) => word !== '');

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
