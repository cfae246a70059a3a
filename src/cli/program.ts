/** The whole command line as one tree, and a run of it. */
import { Command, CommanderError, Option } from 'commander';
import { App, defaultAddress, outputOption, type Surroundings } from './app.ts';
import { attachCommand } from './commands/attach.ts';
import { checkCommand } from './commands/check.ts';
import { completionCommand } from './commands/completion.ts';
import { duCommand } from './commands/du.ts';
import { eventsCommand } from './commands/events.ts';
import { execCommand } from './commands/exec.ts';
import { imagesCommand } from './commands/images.ts';
import { infoCommand } from './commands/info.ts';
import { inspectCommand } from './commands/inspect.ts';
import { killCommand } from './commands/kill.ts';
import { logsCommand } from './commands/logs.ts';
import { pauseCommand, unpauseCommand } from './commands/pause.ts';
import { psCommand } from './commands/ps.ts';
import { pullCommand } from './commands/pull.ts';
import { rmCommand } from './commands/rm.ts';
import { rmiCommand } from './commands/rmi.ts';
import { runCommand } from './commands/run.ts';
import { startCommand } from './commands/start.ts';
import { statsCommand } from './commands/stats.ts';
import { stopCommand } from './commands/stop.ts';
import { versionCommand } from './commands/version.ts';
import { whyCommand } from './commands/why.ts';
import { asFailure, exitCodes } from './failure.ts';
import { tellFailure } from './tell-failure.ts';

const groups: readonly (readonly [heading: string, commands: readonly ((app: App) => Command)[]])[] = [
  ['Run:', [runCommand, execCommand, attachCommand, startCommand, stopCommand, killCommand]],
  ['Look:', [psCommand, logsCommand, statsCommand, inspectCommand, eventsCommand, duCommand, whyCommand]],
  ['Images:', [pullCommand, imagesCommand, rmiCommand]],
  ['Tidy up:', [rmCommand, pauseCommand, unpauseCommand]],
  ['About:', [checkCommand, versionCommand, infoCommand, completionCommand]],
];

export function makeProgram(app: App): Command {
  const { env } = app.around;
  const program = new Command('gantry')
    .description('Runs containers on gantryd, or on containerd.')
    .version(app.around.version, '-V, --version', "print this program's version")
    .option(
      '-a, --address <socket>',
      'of the daemon (GANTRY_ADDRESS, CONTAINERD_ADDRESS)',
      firstOf(env['GANTRY_ADDRESS'], env['CONTAINERD_ADDRESS']) ?? defaultAddress,
    )
    .option(
      '-n, --namespace <name>',
      'whose containers and images (GANTRY_NAMESPACE, CONTAINERD_NAMESPACE)',
      firstOf(env['GANTRY_NAMESPACE'], env['CONTAINERD_NAMESPACE']) ?? 'default',
    )
    .addOption(
      new Option('--snapshotter <name>', 'who keeps file systems (CONTAINERD_SNAPSHOTTER)').default(
        firstOf(env['CONTAINERD_SNAPSHOTTER']) ?? 'overlayfs',
      ),
    )
    .addOption(outputOption())
    .option('--debug', 'show where an error comes from')
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; run and exec have the command's own, and 125 to 127.
gantry COMMAND --help shows each command with examples.`,
    )
    .enablePositionalOptions();
  for (const [heading, commands] of groups) {
    program.commandsGroup(heading);
    for (const make of commands) program.addCommand(make(app).helpGroup(heading));
  }
  for (const command of [program, ...program.commands]) configure(command, app);
  return program;
}

/** An empty variable counts as none. */
const firstOf = (...values: readonly (string | undefined)[]): string | undefined =>
  values.find((value) => value !== undefined && value !== '');

function configure(command: Command, app: App): void {
  const name = command.parent === null ? 'gantry' : `gantry ${command.name()}`;
  command
    .exitOverride()
    .showHelpAfterError(`hint: ${name} --help shows what there is`)
    .configureOutput({
      writeOut: (text) => app.print(text),
      writeErr: (text) => void app.around.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'gantry: ')),
    });
}

/** Runs one command line (without program names) and returns the exit code. Never throws. */
export async function runProgram(args: readonly string[], around: Surroundings): Promise<number> {
  const app = new App(around);
  const program = makeProgram(app);
  try {
    await program.parseAsync(args, { from: 'user' });
    return app.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const failure = asFailure(error);
    tellFailure(around.stderr, failure);
    if (program.opts<{ debug?: boolean }>().debug === true) around.stderr.write(`${traceOf(failure)}\n`);
    return failure.exitCode;
  }
}

/** The stack of every cause, the outermost first. */
function traceOf(error: unknown): string {
  const traces: string[] = [];
  for (let each = error; each instanceof Error && traces.length < 10; each = each.cause)
    traces.push(each.stack ?? each.message);
  return traces.join('\ncaused by: ');
}
