/**
 * The process of `gantry`: real streams, real signals, and the two things of the operating system that a client
 * needs and Node does not have, FIFOs and mounts. With root-files.ts the only place of the command line that knows
 * the platform, which is loaded when it is first needed.
 */
import manifest from '../../package.json' with { type: 'json' };
import { selectPlatform } from '../platform/select.ts';
import type { Surroundings } from './app.ts';
import { daemonProgram } from './daemon-program.ts';
import { runProgram } from './program.ts';
import { rootFileReader } from './root-files.ts';
import { mountDirectory } from './runtime-directory.ts';

const uid = process.getuid?.() ?? 0;

const around: Surroundings = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  uid,
  version: manifest.version,
  makeFifo: async (path, mode) => (await selectPlatform()).files.makeFifo(path, mode),
  readRootFiles: rootFileReader({
    platform: selectPlatform,
    directory: mountDirectory({ env: process.env, uid }),
  }),
  runDaemon: daemonProgram(),
  onSignals: (signals, handle) => {
    for (const signal of signals) process.on(signal, handle);
    return {
      [Symbol.dispose]: () => {
        for (const signal of signals) process.off(signal, handle);
      },
    };
  },
  nowMs: () => Date.now(),
};

// Whoever reads our output has gone (`gantry ps | head`): that is no failure of ours, and nothing is left to say.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// Writes to terminals, pipes and files are synchronous here, so nothing is lost by leaving at once; a terminal that
// was read from would keep the process otherwise.
process.exit(await runProgram(process.argv.slice(2), around));
