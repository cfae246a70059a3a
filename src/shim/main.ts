/**
 * containerd-shim-gantry-v1: the shim as the standard protocol knows it. `start` and `delete` are short and answer on
 * stdout; `serve` is the process that `start`, or our own daemon, leaves behind.
 */
import { writeSync } from 'node:fs';
import { invalidArgument } from '../base/errors.ts';
import { revision, version } from '../base/version.ts';
import { keepCompileCacheToOurselves } from '../platform/compile-cache.ts';
import { parseArguments } from './arguments.ts';
import { deleteCommand } from './delete-command.ts';
import { infoCommand } from './info-command.ts';
import { serveCommand } from './serve-command.ts';
import { shimLogger } from './shim-logger.ts';
import { readStdin, startCommand } from './start-command.ts';

const program = 'containerd-shim-gantry-v1';

const versionText = (): string =>
  `${program}:\n  Version:  ${version}\n  Revision: ${revision}\n  Node version: ${process.version}\n`;

function writeAnswer(answer: Uint8Array): void {
  for (let offset = 0; offset < answer.byteLength; ) offset += writeSync(1, answer, offset);
}

async function main(): Promise<void> {
  const args = parseArguments(process.argv.slice(2));
  if (args.showVersion) writeAnswer(Buffer.from(versionText()));
  else if (args.showInfo) writeAnswer(await infoCommand(readStdin()));
  else if (args.command === 'serve') return serveCommand(args, process.env);
  else if (args.command === 'start') writeAnswer(await startCommand(args, process.env));
  else if (args.command === 'delete') writeAnswer(await deleteCommand(args, shimLogger(args.debug)));
  else
    throw invalidArgument(
      `${program} is started by a daemon: set "io.containerd.gantry.v1" as the runtime. It takes start, delete, -v or -info`,
    );
  process.exit(0);
}

keepCompileCacheToOurselves();
try {
  await main();
} catch (error) {
  // The starter shows this to its user.
  writeSync(2, `${program}: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
