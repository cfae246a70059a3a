/** `gantry rmi`: an image's name goes, and with the last name its content. */
import { Command } from 'commander';
import { type App, globalsOf } from '../app.ts';
import { callName } from '../container-names.ts';
import { CliFailure } from '../failure.ts';
import { forEachOf } from '../for-each.ts';
import { findImage } from '../image-names.ts';

export const rmiCommand = (app: App): Command =>
  new Command('rmi')
    .summary('remove images')
    .description(
      'Removes images and waits until what nothing else needs is gone from the disk. One that a container was made ' +
        'from only goes with -f; the container keeps its file system.',
    )
    .argument('<image...>', 'names, or the beginnings of digests')
    .option('-f, --force', 'although containers were made from it')
    .addHelpText(
      'after',
      `
Examples:
  gantry rmi alpine
  gantry rmi $(gantry images -q)`,
    )
    .action(async (texts: string[], flags: { readonly force?: boolean }, command: Command) => {
      await using gantry = await app.connect(globalsOf(command));
      await forEachOf(app, texts, async (text) => {
        const image = await findImage(gantry, text);
        const users = await gantry.containers.list([`image==${JSON.stringify(image.name)}`]);
        const user = users[0];
        if (user !== undefined && flags.force !== true)
          throw new CliFailure(`image ${image.name} is used by container ${callName(user)}`, {
            hint: `remove the container first (gantry rm ${callName(user)}), or the image with -f`,
          });
        await gantry.images.remove(image.name, { sync: true });
        app.print(`${image.name}\n`);
      });
    });
