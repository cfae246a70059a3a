/** The command line of gantryd: containerd's flags and subcommands. */
import { Command, Option } from 'commander';
import { ContainerdError } from '../base/errors.ts';
import { revision, version } from '../base/version.ts';
import { digestModes } from '../core/check/digest-sample.ts';
import { keepCompileCacheToOurselves, saveCompileCache } from '../platform/compile-cache.ts';
import { giveBackAtRest } from '../platform/rest.ts';
import { selectPlatform } from '../platform/select.ts';
import { type CheckOptions, checkOffline } from './commands/check.ts';
import { printDefaults, printEffective, printMigrated } from './commands/config.ts';
import type { PublishOptions } from './commands/publish.ts';
import { type CommandLine, Configuration } from './config/daemon-config.ts';
import { Daemon } from './daemon.ts';
import { createLogger, type LoggerOptions } from './logger.ts';
import { Reloads } from './reload/reloads.ts';
import { dumpOnSignal, onHangup, untilStopped } from './signals.ts';

/** Serves until a signal ends it. */
async function serve(commandLine: CommandLine): Promise<void> {
  const stopped = untilStopped();
  const configuration = new Configuration(commandLine);
  const { logLevel, logFormat, stateDir, rootDir } = configuration.daemon;
  const logging: LoggerOptions = { level: logLevel, format: logFormat };
  const log = createLogger(logging);
  log.info({ version, root: rootDir, state: stateDir, config: configuration.files }, 'starting gantryd');
  const reloads = new Reloads({ log, read: () => new Configuration(commandLine) });
  reloads.on(['debug.level', 'debug.format'], ({ daemon }) => {
    logging.level = daemon.logLevel;
    logging.format = daemon.logFormat;
  });
  const running: { daemon?: Daemon } = {};
  onHangup(() => {
    if (running.daemon === undefined) log.info({}, 'SIGHUP ignored: the daemon is starting');
    else running.daemon.reload();
  });
  dumpOnSignal(log, stateDir, () => {
    // So that what it says of memory is what is held.
    globalThis.gc?.();
    return running.daemon?.describe() ?? { pid: process.pid, starting: true };
  });
  const platform = await selectPlatform();
  await using daemon = await Daemon.start({ platform, log, reloads }, configuration);
  running.daemon = daemon;
  const startMs = Math.round(performance.now());
  log.info({ address: configuration.address, startMs }, 'gantryd is ready');
  saveCompileCache();
  using _rest = giveBackAtRest(platform.memory);
  log.info({ signal: await stopped }, 'stopping');
}

const print = (text: string): void => void process.stdout.write(text);

const program = new Command('gantryd')
  .description('A container runtime daemon that speaks the API of containerd')
  .version(`gantryd ${version}${revision === '' ? '' : ` ${revision}`}`, '-v, --version', 'print the version')
  .option('-c, --config <file>', 'configuration file (default: /etc/gantry/config.toml if it is there)')
  .option('-a, --address <path>', 'gRPC socket (default: /run/gantry/gantry.sock)')
  .option('--root <folder>', 'what outlives a reboot (default: /var/lib/gantry)')
  .option('--state <folder>', 'what does not (default: /run/gantry)')
  .option('-l, --log-level <level>', 'trace, debug, info, warn, error, fatal or panic')
  .action(async (_options: unknown, command: Command) => {
    await serve(command.opts<CommandLine>());
    // All is stopped and synced. What the loop still waits for, the exit of a shim that we started, is not ours to await.
    process.exit(0);
  });

const config = program.command('config').description('show the configuration');
config
  .command('default')
  .description('print the configuration without any file')
  .action(() => print(printDefaults()));
config
  .command('dump')
  .description('print the configuration in force')
  .action(() => print(printEffective(program.opts<CommandLine>())));
config
  .command('migrate')
  .description('print the configuration file in the newest version')
  .action(() => print(printMigrated(program.opts<CommandLine>())));

program
  .command('publish')
  .description('forward an event: a serialized google.protobuf.Any on standard input (used by shims)')
  .requiredOption('--topic <topic>', 'topic of the event')
  .option('--namespace <name>', 'namespace of the event')
  .action(async (options: PublishOptions) => {
    // Loaded here, for it brings a gRPC client, which a daemon that serves has no use for.
    const { publish } = await import('./commands/publish.ts');
    await publish(program.opts<CommandLine>(), options);
  });

program
  .command('check')
  .description(
    'compare the database of a root without a daemon with its disk; prints JSON lines (used by gantry check)',
  )
  .addOption(
    new Option('--digests <which>', 'blobs that are read whole').choices(digestModes).default('sample'),
  )
  .option('--seed <number>', 'chooses the sample', '0')
  .option('--repair', 'bring back or drop what is damaged, and collect what is left over')
  .option('--plain-http', 'speak http with registries that hosts.toml does not tell of')
  .action(async (options: CheckOptions) => {
    await checkOffline(await selectPlatform(), program.opts<CommandLine>(), options);
    process.exit(0);
  });

keepCompileCacheToOurselves();
try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`gantryd: ${ContainerdError.from(error).message}\n`);
  process.exitCode = 1;
}
