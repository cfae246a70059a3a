/** `gantry pause` and `gantry unpause`. */
import { Command } from 'commander';
import type { Task } from '../../client/index.ts';
import { type App, globalsOf } from '../app.ts';
import { findContainer } from '../container-names.ts';
import { forEachOf } from '../for-each.ts';

export const pauseCommand = (app: App): Command =>
  freezer(app, {
    name: 'pause',
    summary: 'freeze running containers',
    description: 'Freezes every process of the containers until gantry unpause.',
    act: (task) => task.pause(),
  });

export const unpauseCommand = (app: App): Command =>
  freezer(app, {
    name: 'unpause',
    summary: 'let frozen containers go on',
    description: 'Lets containers go on that gantry pause has frozen.',
    act: (task) => task.resume(),
  });

interface Freezer {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly act: (task: Task) => Promise<void>;
}

const freezer = (app: App, { name, summary, description, act }: Freezer): Command =>
  new Command(name)
    .summary(summary)
    .description(description)
    .argument('<container...>', 'names, ids or the beginnings of ids')
    .addHelpText('after', `\nExample:\n  gantry ${name} web`)
    .action(async (texts: string[], _flags: unknown, command: Command) => {
      await using gantry = await app.connect(globalsOf(command));
      await forEachOf(app, texts, async (text) => {
        await act(gantry.tasks.task((await findContainer(gantry, text)).id));
        app.print(`${text}\n`);
      });
    });
