/**
 * The story of `gantry run`: image, container, streams, task, and then either a session in the foreground or the id.
 * What a failure leaves is removed; Ctrl-C before the start undoes everything.
 */
import { randomBytes } from 'node:crypto';
import { type ContainerRecord, createContainer, type GantryClient } from '../client/index.ts';
import { normaliseReference } from '../oci/reference.ts';
import type { App, GlobalOptions } from './app.ts';
import { assertNameFree, checkName, logLabel, nameLabel, shortId } from './container-names.ts';
import { removeContainer } from './container-remove.ts';
import { exitCodes } from './failure.ts';
import { runForeground } from './foreground.ts';
import { maybeFindImage } from './image-names.ts';
import { platformOf, pullImage } from './image-pull.ts';
import { prepareLog } from './log-files.ts';
import { checkRunFlags, parseLabels, type RunFlags, specOptionsOf } from './run-options.ts';
import { startTask } from './task-start.ts';

export interface RunRequest {
  readonly image: string;
  readonly args: readonly string[];
  readonly flags: RunFlags;
  readonly globals: GlobalOptions;
}

export interface RunDependencies {
  readonly app: App;
  readonly gantry: GantryClient;
}

/** Returns the exit code. */
export async function runContainer({ app, gantry }: RunDependencies, request: RunRequest): Promise<number> {
  const { flags } = request;
  const { around } = app;
  checkRunFlags(flags, around.stdin);
  await using undo = new AsyncDisposableStack();
  using interruption = app.interruption();
  const { signal } = interruption;
  const container = await makeContainer({ app, gantry }, request, signal);
  undo.defer(() => removeContainer({ gantry, around }, container, { force: true }));
  const wanted = { terminal: flags.tty === true, stdin: flags.interactive === true };
  const started = await startTask({ gantry, around }, container, { ...wanted, signal });
  // From here on signals are the container's, and without --rm it stays whatever happens.
  interruption[Symbol.dispose]();
  if (flags.rm !== true) undo.move();
  if (started.streams === undefined || flags.detach === true) {
    started.streams?.leave();
    app.print(`${container.id}\n`);
    return exitCodes.ok;
  }
  const end = await runForeground({ around }, { ...started, streams: started.streams });
  if (end.kind === 'exited') return end.status;
  if (flags.rm === true) undo.move();
  app.say(`detached: gantry attach ${flags.name ?? shortId(container.id)} goes on with it`);
  return exitCodes.ok;
}

async function makeContainer(
  { app, gantry }: RunDependencies,
  { image: text, args, flags, globals }: RunRequest,
  signal: AbortSignal,
): Promise<ContainerRecord> {
  const { name } = flags;
  if (name !== undefined) {
    checkName(name);
    await assertNameFree(gantry, name, '');
  }
  const id = randomBytes(32).toString('hex');
  const spec = specOptionsOf(flags, { args, id, around: app.around });
  const own = parseLabels(flags.label);
  const image =
    (await maybeFindImage(gantry, text, { signal })) ??
    (await pullImage(app, gantry, {
      reference: normaliseReference(text).text,
      flags: withoutUser(flags),
      globals,
      signal,
    }));
  const logs = flags.detach === true && flags.interactive !== true;
  const platform = platformOf(flags);
  const container = await createContainer(
    { gantry, readRootFiles: app.around.readRootFiles },
    {
      id,
      image,
      snapshotter: globals.snapshotter,
      runtime: { name: flags.runtime },
      labels: {
        ...own,
        ...(name === undefined ? {} : { [nameLabel]: name }),
        ...(logs ? { [logLabel]: await prepareLog(flags.logDir, { namespace: globals.namespace, id }) } : {}),
      },
      spec,
      signal,
      ...(flags.user === undefined ? {} : { user: flags.user }),
      ...(platform === undefined ? {} : { platform }),
    },
  );
  if (name !== undefined) await yieldName({ app, gantry }, container, name);
  return container;
}

/** Somebody may have taken the name between our look and our record: the younger of the two yields. */
async function yieldName(
  { app, gantry }: RunDependencies,
  container: ContainerRecord,
  name: string,
): Promise<void> {
  try {
    await assertNameFree(gantry, name, container.id);
  } catch (error) {
    await removeContainer({ gantry, around: app.around }, container, { force: true });
    throw error;
  }
}

/** `--user` of run is the container's; the registry's is given to `pull`. */
function withoutUser({ user: _, ...flags }: RunFlags): Omit<RunFlags, 'user'> {
  return flags;
}
