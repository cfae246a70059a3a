/** `gantry rm`: containers with all that belongs to them. */
import { Command } from 'commander';
import { type App, globalsOf } from '../app.ts';
import { findContainer } from '../container-names.ts';
import { removeContainer } from '../container-remove.ts';
import { forEachOf } from '../for-each.ts';

export const rmCommand = (app: App): Command =>
  new Command('rm')
    .summary('remove containers')
    .description('Removes containers with their file systems and logs; one that runs only with -f.')
    .argument('<container...>', 'names, ids or the beginnings of ids')
    .option('-f, --force', 'kill those that run')
    .addHelpText(
      'after',
      `
Examples:
  gantry rm web
  gantry rm -f $(gantry ps -aq)`,
    )
    .action(async (texts: string[], flags: { readonly force?: boolean }, command: Command) => {
      await using gantry = await app.connect(globalsOf(command));
      await forEachOf(app, texts, async (text) => {
        const container = await findContainer(gantry, text);
        await removeContainer({ gantry, around: app.around }, container, { force: flags.force === true });
        app.print(`${text}\n`);
      });
    });
