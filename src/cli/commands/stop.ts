/** `gantry stop`: asks a container to end, and makes it end when it does not. */
import { constants } from 'node:os';
import { Command } from 'commander';
import { type ContainerRecord, type GantryClient, hasCode, stopSignalLabel } from '../../client/index.ts';
import { type App, globalsOf } from '../app.ts';
import { findContainer } from '../container-names.ts';
import { isAlive, killAndWait, stateIfAny } from '../container-remove.ts';
import { forEachOf } from '../for-each.ts';
import { parseSignal } from '../signals.ts';
import { parseDurationMs } from '../units.ts';

interface StopFlags {
  readonly time: string;
  readonly signal?: string;
}

export const stopCommand = (app: App): Command =>
  new Command('stop')
    .summary('end running containers')
    .description(
      "Sends the image's stop signal (TERM when it names none), waits, and kills what is left. A container that does " +
        'not run is no error.',
    )
    .argument('<container...>', 'names, ids or the beginnings of ids')
    .option('-t, --time <duration>', 'how long to wait before killing, as in 30 or 2m', '10')
    .option('-s, --signal <signal>', "instead of the image's")
    .addHelpText(
      'after',
      `
Examples:
  gantry stop web
  gantry stop -t 60 db cache`,
    )
    .action(async (texts: string[], flags: StopFlags, command: Command) => {
      const graceMs = parseDurationMs(flags.time, '--time');
      const signal = flags.signal === undefined ? undefined : parseSignal(flags.signal, '--signal');
      await using gantry = await app.connect(globalsOf(command));
      await forEachOf(app, texts, async (text) => {
        const container = await findContainer(gantry, text);
        await stopContainer(gantry, container, { graceMs, signal: signal ?? stopSignalOf(container) });
        app.print(`${text}\n`);
      });
    });

/** The image's word for it may be nonsense: then TERM. */
function stopSignalOf({ labels }: ContainerRecord): number {
  const text = labels[stopSignalLabel] ?? '';
  if (text === '') return constants.signals.SIGTERM;
  try {
    return parseSignal(text, stopSignalLabel);
  } catch {
    return constants.signals.SIGTERM;
  }
}

async function stopContainer(
  gantry: GantryClient,
  container: ContainerRecord,
  { graceMs, signal }: { graceMs: number; signal: number },
): Promise<void> {
  const task = gantry.tasks.task(container.id);
  const state = await stateIfAny(task);
  if (state === undefined || !isAlive(state)) return;
  if (state.status === 'paused') await task.resume();
  const late = AbortSignal.timeout(graceMs);
  const ended = task.wait({ signal: late });
  ended.catch(() => undefined);
  try {
    await task.kill(signal);
    await ended;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return;
    if (!late.aborted) throw error;
    await killAndWait(task, { ...state, status: 'running' });
  }
}
