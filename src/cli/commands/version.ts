/** `gantry version`: ours and the daemon's. */
import { Command } from 'commander';
import { type App, globalsOf, outputOption } from '../app.ts';
import { asFailure } from '../failure.ts';
import { formatJson } from '../table.ts';
import { tellFailure } from '../tell-failure.ts';

export const versionCommand = (app: App): Command =>
  new Command('version')
    .summary("show this program's version and the daemon's")
    .description("Shows this program's version and, when it can be reached, the daemon's.")
    .addOption(outputOption())
    .addHelpText('after', '\nExample:\n  gantry version -o json')
    .action(async (_flags: unknown, command: Command) => {
      const globals = globalsOf(command);
      const client = { version: app.around.version, node: process.version };
      if (globals.output !== 'json')
        app.print(`Client:\n  Version:  ${client.version}\n  Node:     ${client.node}\n`);
      try {
        await using gantry = await app.connect(globals);
        const [version, server] = await Promise.all([
          gantry.introspection.version(),
          gantry.introspection.server(),
        ]);
        const daemon = { ...version, uuid: server.uuid, pid: server.pid, address: globals.address };
        if (globals.output === 'json') app.print(formatJson({ client, daemon }));
        else
          app.print(
            `Daemon:\n  Version:  ${daemon.version}\n  Revision: ${daemon.revision}\n  UUID:     ${daemon.uuid}\n`,
          );
      } catch (error) {
        const failure = asFailure(error);
        if (globals.output === 'json') app.print(formatJson({ client, daemon: null }));
        tellFailure(app.around.stderr, failure);
        app.exitCode = failure.exitCode;
      }
    });
