/** `gantry exec`: a further process in a running container. */
import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import {
  type ContainerRecord,
  type GantryClient,
  makeStreams,
  noStreams,
  type RuntimeSpec,
  type SpecProcess,
  specOf,
} from '../../client/index.ts';
import { mergeEnv } from '../../oci/default-spec.ts';
import { resolveUser } from '../../oci/users.ts';
import { type App, globalsOf } from '../app.ts';
import { callName, findContainer } from '../container-names.ts';
import { asStartFailure, CliFailure, exitCodes } from '../failure.ts';
import { repeated } from '../repeated.ts';
import { parseEnv } from '../run-options.ts';
import { fifoDirectory } from '../runtime-directory.ts';
import { runSession } from '../session.ts';

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
  readonly env: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
}

export const execCommand = (app: App): Command =>
  new Command('exec')
    .summary('run a command in a running container')
    .description("Runs a further command in a container; the exit code is the command's.")
    .argument('<container>', 'name, id or the beginning of an id')
    .argument('<command...>', 'what to run')
    .option('-i, --interactive', 'give it our standard input')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'do not wait for it, and drop its output')
    .option('-e, --env <name=value>', 'set a variable; NAME alone takes ours', repeated, [])
    .option('-w, --workdir <directory>', 'where it starts')
    .option('-u, --user <user[:group]>', 'names or numbers')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
Examples:
  gantry exec web ls /srv
  gantry exec -it web sh
  gantry exec -u nobody -w /tmp -e DEBUG=1 web id`,
    )
    .action(async (text: string, args: string[], flags: ExecFlags, command: Command) => {
      await using gantry = await app.connect(globalsOf(command));
      const container = await findContainer(gantry, text);
      try {
        app.exitCode = await execInContainer(app, gantry, { container, args, flags });
      } catch (error) {
        throw asStartFailure(error);
      }
    });

interface ExecRequest {
  readonly container: ContainerRecord;
  readonly args: readonly string[];
  readonly flags: ExecFlags;
}

async function execInContainer(app: App, gantry: GantryClient, request: ExecRequest): Promise<number> {
  const { container, flags } = request;
  const { around } = app;
  const task = gantry.tasks.task(container.id);
  const { status } = await runningState(task, container);
  if (status !== 'running')
    throw new CliFailure(`container ${callName(container)} is ${status}`, {
      exitCode: exitCodes.daemon,
      hint:
        status === 'paused'
          ? `let it go on first: gantry unpause ${callName(container)}`
          : `start it first: gantry start ${callName(container)}`,
    });
  const terminal = flags.tty === true;
  const process = await processOf(app, gantry, request);
  const execId = `exec-${randomBytes(9).toString('hex')}`;
  if (flags.detach === true) {
    const exec = await task.exec({ execId, process, io: { ...noStreams, terminal } });
    await exec.start();
    return exitCodes.ok;
  }
  const streams = await makeStreams(
    { makeFifo: around.makeFifo, directory: fifoDirectory(around) },
    { stdin: flags.interactive === true, terminal },
  );
  await using _streams = streams;
  const exec = await task.exec({ execId, process, io: streams.paths });
  try {
    const exited = exec.wait();
    exited.catch(() => undefined);
    await exec.start();
    const end = await runSession({ around, process: exec, streams, exited });
    return end.kind === 'exited' ? end.status : exitCodes.ok;
  } finally {
    // One that still runs is left to the container: it goes with it.
    await exec.delete().catch(() => undefined);
  }
}

async function runningState(task: ReturnType<GantryClient['tasks']['task']>, container: ContainerRecord) {
  try {
    return await task.state();
  } catch (error) {
    throw new CliFailure(`container ${callName(container)} is not running`, {
      exitCode: exitCodes.daemon,
      hint: `start it first: gantry start ${callName(container)}`,
      cause: error,
    });
  }
}

/** The container's own process, with another command and what the flags change. */
async function processOf(
  app: App,
  gantry: GantryClient,
  { container, args, flags }: ExecRequest,
): Promise<SpecProcess> {
  const base = (specOf(container) as RuntimeSpec).process;
  if (base === undefined) throw new CliFailure(`container ${callName(container)} has no process in its spec`);
  const { user, workdir, tty } = flags;
  const { consoleSize: _, ...inherited } = base;
  return {
    ...inherited,
    args,
    terminal: tty === true,
    env: mergeEnv(base.env ?? [], [
      ...(tty === true ? ['TERM=xterm'] : []),
      ...parseEnv(flags.env, app.around.env),
    ]),
    ...(workdir === undefined ? {} : { cwd: workdir }),
    ...(user === undefined ? {} : { user: await userOf(app, gantry, { container, user }) }),
  };
}

async function userOf(
  app: App,
  gantry: GantryClient,
  { container, user }: { container: ContainerRecord; user: string },
): Promise<SpecProcess['user']> {
  const mounts = await gantry.snapshots(container.snapshotter).mounts(container.snapshotKey);
  const [passwd = '', group = ''] = await app.around.readRootFiles(mounts, ['/etc/passwd', '/etc/group']);
  return resolveUser(user, passwd, group);
}
