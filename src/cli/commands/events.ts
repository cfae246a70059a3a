/** `gantry events`: what happens in the daemon, as it happens. */
import { Command } from 'commander';
import { formatInstant } from '../../base/time.ts';
import { type EventEnvelope, hasCode } from '../../client/index.ts';
import { type App, globalsOf, outputOption } from '../app.ts';
import { repeated } from '../repeated.ts';
import { printable } from '../table.ts';

export const eventsCommand = (app: App): Command =>
  new Command('events')
    .summary('show what happens, as it happens')
    .description("Shows the daemon's events of this namespace until Ctrl-C, one a line.")
    .option(
      '-f, --filter <filter>',
      "containerd's filters, as in topic==/tasks/exit; one must hold",
      repeated,
      [],
    )
    .option('--all-namespaces', 'of every namespace')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Examples:
  gantry events
  gantry events -f topic==/tasks/exit -o json`,
    )
    .action(async (flags: EventsFlags, command: Command) => {
      const globals = globalsOf(command);
      await using gantry = await app.connect(globals);
      using interruption = app.interruption();
      const { signal } = interruption;
      const own = flags.allNamespaces === true ? '' : `namespace==${JSON.stringify(globals.namespace)}`;
      const filters = (flags.filter.length === 0 ? [''] : flags.filter).map((filter) =>
        [own, filter].filter((part) => part !== '').join(','),
      );
      try {
        for await (const event of gantry.events.subscribe(filters, { signal }))
          app.print(globals.output === 'json' ? `${JSON.stringify(jsonOf(event))}\n` : lineOf(event));
      } catch (error) {
        // Ctrl-C is how one ends it.
        if (!signal.aborted || !hasCode(error, 'Canceled')) throw error;
      }
    });

interface EventsFlags {
  readonly filter: readonly string[];
  readonly allNamespaces?: boolean;
}

const jsonOf = ({ timestamp, namespace, topic, event, fields }: EventEnvelope): unknown => ({
  timestamp: formatInstant(timestamp),
  namespace,
  topic,
  type: event.typeUrl,
  event: fields ?? null,
});

const lineOf = ({ timestamp, namespace, topic, fields }: EventEnvelope): string =>
  `${[formatInstant(timestamp), namespace, topic, JSON.stringify(fields ?? {})].map(printable).join(' ')}\n`;
