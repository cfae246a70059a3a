/** Proportional memory of processes, from the kernel's own accounts (proc(5), smaps_rollup). */
import { readdir, readFile } from 'node:fs/promises';

/** PSS in MB of every process whose command line names `dir`: a daemon on a private root and its shims. */
export async function pssMb(dir: string, except: (commandLine: string) => boolean): Promise<number> {
  let kilobytes = 0;
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      const commandLine = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
      if (!commandLine.includes(dir) || except(commandLine)) continue;
      const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
      kilobytes += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    } catch {
      // The process ended while it was read.
    }
  }
  return kilobytes / 1024;
}
