/** `gantry stats`: what running containers use now. */
import { Command } from 'commander';
import { type App, globalsOf, outputOption } from '../app.ts';
import { callName, findContainer, nameOf, shortId } from '../container-names.ts';
import { type ContainerUsage, usageOf } from '../container-usage.ts';
import { formatDuration, formatSize } from '../units.ts';

export const statsCommand = (app: App): Command =>
  new Command('stats')
    .summary('show what running containers use')
    .description('Shows memory, processor time and processes of running containers, once.')
    .argument('[container...]', 'all that run when none is named')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Examples:
  gantry stats
  gantry stats -o json web`,
    )
    .action(async (texts: string[], _flags: unknown, command: Command) => {
      const globals = globalsOf(command);
      await using gantry = await app.connect(globals);
      const wanted = new Set<string>();
      for (const text of texts) wanted.add((await findContainer(gantry, text)).id);
      const containers = new Map((await gantry.containers.list()).map((each) => [each.id, each]));
      const metrics = (await gantry.tasks.metrics()).filter(({ id }) => wanted.size === 0 || wanted.has(id));
      const rows = metrics.flatMap(({ id, data }) => {
        const container = containers.get(id);
        return container === undefined ? [] : [{ container, usage: usageOf(data) }];
      });
      app.show(
        globals.output,
        rows.map(({ container, usage }) => ({ id: container.id, name: nameOf(container), ...usage })),
        {
          header: ['CONTAINER', 'MEMORY', 'LIMIT', 'CPU TIME', 'PIDS'],
          rows: rows.map(({ container, usage }) => [
            callName(container) || shortId(container.id),
            ...cellsOf(usage),
          ]),
        },
      );
    });

const cellsOf = ({ memoryBytes, memoryLimitBytes, cpuMs, pids }: ContainerUsage): string[] => [
  formatSize(memoryBytes),
  memoryLimitBytes === undefined ? 'none' : formatSize(memoryLimitBytes),
  formatDuration(cpuMs),
  String(pids),
];
