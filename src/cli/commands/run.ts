/** `gantry run`: a container from an image, in the foreground or detached. */
import { Command, Option } from 'commander';
import { defaultRuntime } from '../../client/index.ts';
import { type App, globalsOf } from '../app.ts';
import { runContainer } from '../container-run.ts';
import { asStartFailure } from '../failure.ts';
import { defaultLogDirectory } from '../log-files.ts';
import { repeated } from '../repeated.ts';
import type { RunFlags } from '../run-options.ts';

export const runCommand = (app: App): Command =>
  new Command('run')
    .summary('run a command in a new container')
    .description(
      'Makes a container from an image (fetched first when it is not here) and runs it. In the foreground its ' +
        "streams and signals are ours and the exit code is the container's; Ctrl-P Ctrl-Q leaves one with -it " +
        'running. Options end at the image: what follows is for the container.',
    )
    .argument('<image>', 'name, or the beginning of a digest')
    .argument('[command...]', "instead of the image's")
    .option('--rm', 'remove the container when it has ended')
    .option('-i, --interactive', 'give it our standard input')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'run it in the background and print its id; its output is kept for gantry logs')
    .option('--name <name>', 'call it so')
    .option('-e, --env <name=value>', 'set a variable; NAME alone takes ours', repeated, [])
    .option('-v, --volume <source:destination[:ro]>', 'show it a file or directory of the host', repeated, [])
    .option('-w, --workdir <directory>', 'where its command starts')
    .option('-u, --user <user[:group]>', 'names or numbers')
    .option('--memory <size>', 'limit, as in 512m or 2g')
    .option('--cpus <number>', 'limit, as in 0.5 or 2')
    .addOption(
      new Option('--net <mode>', 'none: loopback only; host: the network of this machine')
        .choices(['none', 'host'])
        .default('none'),
    )
    .option('--read-only', 'its root file system cannot be written')
    .option('--hostname <name>', 'its name or short id when not given')
    .option('--entrypoint <program>', "instead of the image's; then the image's command does not apply")
    .option('-l, --label <key=value>', 'remember it with the container', repeated, [])
    .option('--platform <os/arch>', 'of the image')
    .option('--plain-http', 'fetch from a registry without TLS')
    .option('--hosts-dir <directory>', "hosts.toml directories to use instead of the daemon's")
    .option('--runtime <name>', 'who runs it', defaultRuntime)
    .option('-q, --quiet', 'do not show the fetching of the image')
    .addOption(
      new Option('--log-dir <directory>', 'where the output of detached containers is kept')
        .env('GANTRY_LOG_DIR')
        .default(defaultLogDirectory),
    )
    .passThroughOptions()
    .addHelpText(
      'after',
      `
Exit codes: the container's own; 125 when it could not be run, 126 when its command cannot be executed,
127 when there is no such command, 2 for a wrong option.

There is no container network: --net none (the default) shuts it off, --net host shares this machine's.

Examples:
  gantry run --rm alpine echo hello
  gantry run --rm -it debian bash
  gantry run -d --name web --net host -v ./site:/srv:ro nginx
  gantry run --rm --memory 256m --cpus 0.5 -e DEBUG=1 -u 1000:1000 app`,
    )
    .action(async (image: string, args: string[], flags: RunFlags, command: Command) => {
      const globals = globalsOf(command);
      try {
        await using gantry = await app.connect(globals);
        app.exitCode = await runContainer({ app, gantry }, { image, args, flags, globals });
      } catch (error) {
        throw asStartFailure(error);
      }
    });
