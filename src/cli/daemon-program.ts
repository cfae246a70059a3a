/** `gantryd` of this installation, run to its end: beside the bundle that runs, or from source when we are. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { limits } from '../base/limits.ts';
import { childEnvironment } from '../platform/child-environment.ts';
import { runCommand } from '../platform/command.ts';
import { selectPlatform } from '../platform/select.ts';
import type { Surroundings } from './app.ts';

export function daemonProgram(): Surroundings['runDaemon'] {
  const self = fileURLToPath(import.meta.url);
  const here = path.dirname(self);
  const script = self.endsWith('.ts') ? path.join(here, '../daemon/main.ts') : path.join(here, 'gantryd.js');
  return async (args, signal) =>
    runCommand((await selectPlatform()).processes, {
      file: process.execPath,
      args: [...process.execArgv, script, ...args],
      env: childEnvironment(),
      maxOutputBytes: limits.checkOutputBytes,
      signal,
    });
}
