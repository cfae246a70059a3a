/** `gantryd config …`: settings as TOML that the daemon reads back. */
import { stringify } from 'smol-toml';
import { silentLogger } from '../../base/logger.ts';
import { portablePlatform } from '../../platform/portable/portable-platform.ts';
import { InFlightCalls } from '../../wire/in-flight.ts';
import { builtins } from '../builtins.ts';
import { type CommandLine, Configuration, noDocument } from '../config/daemon-config.ts';
import { loadDocument } from '../config/load.ts';
import { Deprecations } from '../deprecations.ts';

/** Every plugin reads its settings, and what it read is printed. */
function print(configuration: Configuration): string {
  const plugins = builtins({
    // Nothing is started: the list only says which settings there are.
    platform: portablePlatform(),
    log: silentLogger,
    calls: new InFlightCalls(),
    deprecations: new Deprecations(),
    configuration,
    pluginRecords: () => [],
  });
  for (const plugin of plugins) plugin.config(configuration.tableOf(plugin));
  return `${stringify(configuration.effective())}\n`;
}

export const printDefaults = (): string => print(new Configuration({}, noDocument()));

/** Errors: as for a start. */
export const printEffective = (commandLine: CommandLine): string => print(new Configuration(commandLine));

/** What the file and its imports say, and no defaults. */
export function printMigrated({ config }: CommandLine): string {
  const { imports: _, ...document } = loadDocument(config).document;
  return `${stringify(document)}\n`;
}
