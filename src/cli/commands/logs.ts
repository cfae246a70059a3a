/** `gantry logs`: what a detached container has printed. */
import { Command } from 'commander';
import { hasCode } from '../../client/index.ts';
import { isErrno } from '../../platform/errno.ts';
import { type App, globalsOf } from '../app.ts';
import { callName, findContainer } from '../container-names.ts';
import { CliFailure } from '../failure.ts';
import { logPathOf, readLog, tailOffset } from '../log-files.ts';
import { parseCount } from '../units.ts';

interface LogsFlags {
  readonly follow?: boolean;
  readonly tail: string;
}

export const logsCommand = (app: App): Command =>
  new Command('logs')
    .summary('show what a detached container printed')
    .description(
      'Shows both outputs of a container that was run with -d or started in the background, in the order they came. ' +
        'There are no times in it.',
    )
    .argument('<container>', 'name, id or the beginning of an id')
    .option('-f, --follow', 'go on until the container ends')
    .option('--tail <lines>', 'only the last of them', 'all')
    .addHelpText(
      'after',
      `
Examples:
  gantry logs web
  gantry logs -f --tail 20 web`,
    )
    .action(async (text: string, flags: LogsFlags, command: Command) => {
      const lines = flags.tail === 'all' ? undefined : parseCount(flags.tail, '--tail');
      await using gantry = await app.connect(globalsOf(command));
      using interruption = app.interruption();
      const { signal } = interruption;
      const container = await findContainer(gantry, text);
      const path = logPathOf(container);
      if (path === undefined)
        throw new CliFailure(`container ${callName(container)} keeps no log`, {
          hint: 'only containers run with -d do; one in the foreground shows its output where it was started',
        });
      const follow = { until: ended(gantry.tasks.task(container.id).wait({ signal })), signal };
      try {
        const offset = lines === undefined ? 0 : await tailOffset(path, lines);
        const log = readLog(path, { offset, ...(flags.follow === true ? { follow } : {}) });
        for await (const chunk of log)
          if (!app.around.stdout.write(chunk))
            await new Promise<void>((resolve) => app.around.stdout.once('drain', resolve));
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error;
        throw new CliFailure(`the log ${path} of container ${callName(container)} is not there`, {
          hint: 'it has printed nothing yet, or somebody removed the file',
          cause: error,
        });
      }
    });

/** A container without a task has ended as well. */
async function ended(wait: Promise<unknown>): Promise<void> {
  try {
    await wait;
  } catch (error) {
    if (!hasCode(error, 'NotFound') && !hasCode(error, 'Canceled')) throw error;
  }
}
