/** `gantry kill`: a signal to a container's first process. */
import { Command } from 'commander';
import { hasCode } from '../../client/index.ts';
import { type App, globalsOf } from '../app.ts';
import { callName, findContainer } from '../container-names.ts';
import { CliFailure } from '../failure.ts';
import { forEachOf } from '../for-each.ts';
import { parseSignal } from '../signals.ts';

export const killCommand = (app: App): Command =>
  new Command('kill')
    .summary('send a signal to running containers')
    .description('Sends a signal to the first process of each container; KILL when none is named.')
    .argument('<container...>', 'names, ids or the beginnings of ids')
    .option('-s, --signal <signal>', 'as in HUP, SIGHUP or 1', 'KILL')
    .addHelpText(
      'after',
      `
Examples:
  gantry kill web
  gantry kill -s HUP web`,
    )
    .action(async (texts: string[], flags: { readonly signal: string }, command: Command) => {
      const signal = parseSignal(flags.signal, '--signal');
      await using gantry = await app.connect(globalsOf(command));
      await forEachOf(app, texts, async (text) => {
        const container = await findContainer(gantry, text);
        try {
          await gantry.tasks.task(container.id).kill(signal);
        } catch (error) {
          if (!hasCode(error, 'NotFound')) throw error;
          throw new CliFailure(`container ${callName(container)} is not running`, { cause: error });
        }
        app.print(`${text}\n`);
      });
    });
