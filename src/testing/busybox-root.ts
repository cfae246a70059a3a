/** A root file system of busybox alone, to run containers on. */
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Makes it at `path`, with a link in /bin for each applet. */
export function makeBusyboxRoot(path: string, applets: readonly string[]): void {
  for (const folder of ['bin', 'proc', 'dev', 'sys', 'tmp', 'run', 'etc'])
    mkdirSync(join(path, folder), { recursive: true, mode: 0o755 });
  copyFileSync('/bin/busybox', join(path, 'bin/busybox'));
  for (const applet of applets) symlinkSync('busybox', join(path, 'bin', applet));
}
