/** `gantry attach`: back to a container that was left with Ctrl-P Ctrl-Q, or started with -d -i. */
import { Command } from 'commander';
import { attachStreams, type ProcessState, type ProcessStreams } from '../../client/index.ts';
import { type App, globalsOf } from '../app.ts';
import { callName, findContainer } from '../container-names.ts';
import { isAlive, stateIfAny } from '../container-remove.ts';
import { CliFailure, exitCodes } from '../failure.ts';
import { runSession } from '../session.ts';

export const attachCommand = (app: App): Command =>
  new Command('attach')
    .summary('go to the terminal of a running container')
    .description(
      'Connects our streams with those of a container that was left with Ctrl-P Ctrl-Q or started with -d -i. The ' +
        "exit code is the container's; Ctrl-P Ctrl-Q leaves it again.",
    )
    .argument('<container>', 'name, id or the beginning of an id')
    .addHelpText(
      'after',
      `
Example:
  gantry attach shell`,
    )
    .action(async (text: string, _flags: unknown, command: Command) => {
      await using gantry = await app.connect(globalsOf(command));
      const container = await findContainer(gantry, text);
      const name = callName(container);
      const task = gantry.tasks.task(container.id);
      const state = await stateIfAny(task);
      if (state === undefined || !isAlive(state))
        throw new CliFailure(`container ${name} is not running`, {
          hint: `gantry start -a ${name} runs it again`,
        });
      const exited = task.wait();
      exited.catch(() => undefined);
      const streams = streamsOf(state, name);
      const end = await runSession({ around: app.around, process: task, streams, exited });
      app.exitCode = end.kind === 'exited' ? end.status : exitCodes.ok;
    });

function streamsOf(state: ProcessState, name: string): ProcessStreams {
  const { stdin, stdout, stderr, terminal } = state;
  if (!stdout.startsWith('/'))
    throw new CliFailure(`container ${name} has no streams to attach to`, {
      hint: stdout === '' ? 'its output goes nowhere' : `its output is kept: gantry logs -f ${name}`,
    });
  try {
    return attachStreams({ stdin, stdout, stderr: terminal ? '' : stderr, terminal });
  } catch (error) {
    throw new CliFailure(`open the streams of container ${name}: ${(error as Error).message}`, {
      hint: 'whoever started it has removed them',
      cause: error,
    });
  }
}
