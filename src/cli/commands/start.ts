/** `gantry start`: runs a container again that has ended, on the file system it left. */
import { Command, Option } from 'commander';
import type { GantryClient } from '../../client/index.ts';
import { type ContainerRecord, type RuntimeSpec, specOf } from '../../client/index.ts';
import { type App, type GlobalOptions, globalsOf } from '../app.ts';
import { callName, findContainer, logLabel } from '../container-names.ts';
import { isAlive, removeFifos, stateIfAny } from '../container-remove.ts';
import { asStartFailure, CliFailure, exitCodes, usage } from '../failure.ts';
import { forEachOf } from '../for-each.ts';
import { runForeground } from '../foreground.ts';
import { defaultLogDirectory, prepareLog } from '../log-files.ts';
import { startTask } from '../task-start.ts';

interface StartFlags {
  readonly attach?: boolean;
  readonly interactive?: boolean;
  readonly logDir: string;
}

export const startCommand = (app: App): Command =>
  new Command('start')
    .summary('run containers again')
    .description('Runs containers that have ended again: in the background, or in the foreground with -a.')
    .argument('<container...>', 'names, ids or the beginnings of ids')
    .option('-a, --attach', 'in the foreground; only one')
    .option('-i, --interactive', 'give it our standard input, with -a')
    .addOption(
      new Option('--log-dir <directory>', 'where its output is kept')
        .env('GANTRY_LOG_DIR')
        .default(defaultLogDirectory),
    )
    .addHelpText(
      'after',
      `
Examples:
  gantry start web
  gantry start -ai shell`,
    )
    .action(async (texts: string[], flags: StartFlags, command: Command) => {
      if (flags.attach === true && texts.length > 1)
        throw usage('--attach takes one container', 'start the others without it');
      const globals = globalsOf(command);
      await using gantry = await app.connect(globals);
      await forEachOf(app, texts, async (text) => {
        const container = await findContainer(gantry, text);
        try {
          app.exitCode = await startContainer({ app, gantry, globals }, container, flags);
        } catch (error) {
          throw asStartFailure(error);
        }
        if (flags.attach !== true) app.print(`${text}\n`);
      });
    });

interface StartDependencies {
  readonly app: App;
  readonly gantry: GantryClient;
  readonly globals: GlobalOptions;
}

async function startContainer(
  { app, gantry, globals }: StartDependencies,
  container: ContainerRecord,
  flags: StartFlags,
): Promise<number> {
  const { around } = app;
  const task = gantry.tasks.task(container.id);
  const state = await stateIfAny(task);
  if (state !== undefined && isAlive(state))
    throw new CliFailure(`container ${callName(container)} is ${state.status} already`, {
      hint: `gantry exec runs a further command in it, gantry attach goes to its terminal`,
    });
  if (state !== undefined) {
    await task.delete();
    await removeFifos(around, state);
  }
  const terminal = (specOf(container) as RuntimeSpec).process?.terminal === true;
  if (flags.attach === true) {
    const attached = { ...container, labels: withoutLog(container.labels) };
    const stdin = flags.interactive === true;
    const started = await startTask({ gantry, around }, attached, { terminal, stdin });
    if (started.streams === undefined) return exitCodes.ok;
    const end = await runForeground({ around }, { ...started, streams: started.streams });
    return end.kind === 'exited' ? end.status : exitCodes.ok;
  }
  // One with a terminal waits for somebody to attach; the output of another is kept.
  const logged = terminal
    ? container
    : await withLog(gantry, container, { directory: flags.logDir, globals });
  const started = await startTask({ gantry, around }, logged, { terminal, stdin: terminal });
  started.streams?.leave();
  return exitCodes.ok;
}

const withoutLog = (labels: ContainerRecord['labels']): ContainerRecord['labels'] =>
  Object.fromEntries(Object.entries(labels).filter(([key]) => key !== logLabel));

async function withLog(
  gantry: GantryClient,
  container: ContainerRecord,
  { directory, globals }: { directory: string; globals: GlobalOptions },
): Promise<ContainerRecord> {
  if (container.labels[logLabel] !== undefined) return container;
  const uri = await prepareLog(directory, { namespace: globals.namespace, id: container.id });
  return await gantry.containers.setLabels(container.id, { [logLabel]: uri });
}
