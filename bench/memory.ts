/**
 * Proportional memory of processes, from the kernel's own accounts (proc(5), smaps_rollup).
 *
 * Pages of a file that several processes map are charged to each in part, so whoever measures must not map what it
 * measures: `onPrivateNode` is for that. Other users of the machine's Node or containerd falsify the figures too.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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

const onPrivate = 'GANTRY_BENCH_ON_PRIVATE_NODE';

/**
 * Runs this program again on a copy of Node and exits as it does, unless it is that run already: then no page of ours
 * is one of the daemon's.
 */
export function onPrivateNode(): void {
  if (process.env[onPrivate] !== undefined) {
    delete process.env[onPrivate];
    return;
  }
  const dir = mkdtempSync(join(tmpdir(), 'gantry-bench-node-'));
  try {
    const node = join(dir, 'node');
    copyFileSync(process.execPath, node);
    const { status } = spawnSync(node, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: 'inherit',
      env: { ...process.env, [onPrivate]: '1' },
    });
    process.exitCode = status ?? 1;
  } finally {
    rmSync(dir, { recursive: true });
  }
  process.exit();
}
