/** `gantry pull`: the daemon fetches and unpacks, we show how far it is. */
import { Command } from 'commander';
import { normaliseReference } from '../../oci/reference.ts';
import { type App, globalsOf, outputOption } from '../app.ts';
import { usage } from '../failure.ts';
import { type PullFlags, pullImage } from '../image-pull.ts';
import { formatJson } from '../table.ts';

export const pullCommand = (app: App): Command =>
  new Command('pull')
    .summary('fetch an image')
    .description(
      'Fetches an image from its registry and unpacks it. Ctrl-C gives up; what was fetched is kept.',
    )
    .argument('<image>', 'name, as in alpine, alpine:3.22, quay.io/podman/hello, name@sha256:…')
    .option('-u, --user <user:password>', 'who you are to the registry')
    .option('--plain-http', 'the registry does not speak TLS')
    .option('--platform <os/arch>', "instead of the daemon's own, as in linux/arm64")
    .option('--hosts-dir <directory>', "hosts.toml directories to use instead of the daemon's")
    .option('-q, --quiet', 'only print the digest')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Examples:
  gantry pull alpine
  gantry pull --plain-http localhost:5000/app:1.2
  gantry pull -u me:secret registry.example.com/team/app`,
    )
    .action(async (text: string, flags: PullFlags, command: Command) => {
      const globals = globalsOf(command);
      const reference = referenceOf(text);
      await using gantry = await app.connect(globals);
      using interruption = app.interruption();
      const { signal } = interruption;
      const image = await pullImage(app, gantry, { reference, flags, globals, signal });
      if (globals.output === 'json') app.print(formatJson({ name: image.name, target: image.target }));
      else app.print(`${image.target.digest}\n`);
    });

function referenceOf(text: string): string {
  try {
    return normaliseReference(text).text;
  } catch (error) {
    throw usage((error as Error).message, 'write it like alpine:3.22');
  }
}
