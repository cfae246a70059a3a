/** `gantry ps`: containers and what they are doing. */
import { Command } from 'commander';
import { formatInstant } from '../../base/time.ts';
import {
  type ContainerRecord,
  type ProcessState,
  type RuntimeSpec,
  type StuckTask,
  specOf,
} from '../../client/index.ts';
import { type App, globalsOf, outputOption } from '../app.ts';
import { nameOf, shortId } from '../container-names.ts';
import { usage } from '../failure.ts';
import { familiar } from '../image-names.ts';
import { repeated } from '../repeated.ts';
import { truncated } from '../table.ts';
import { formatAge, formatDuration } from '../units.ts';

interface PsFlags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly filter: readonly string[];
  readonly trunc: boolean;
}

interface Row {
  readonly container: ContainerRecord;
  readonly state: ProcessState | undefined;
  /** The oldest call into its shim that does not come back. */
  readonly stuck: StuckTask | undefined;
}

export const psCommand = (app: App): Command =>
  new Command('ps')
    .summary('list containers')
    .description('Lists the containers that run, or all of them with -a.')
    .option('-a, --all', 'also those that do not run')
    .option('-q, --quiet', 'only print ids')
    .option(
      '-f, --filter <key=value>',
      'name=, image=, status= or label=KEY[=VALUE]; all must hold',
      repeated,
      [],
    )
    .option('--no-trunc', 'print ids and commands in full')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Examples:
  gantry ps
  gantry ps -a --filter status=exited
  gantry ps -aq --filter label=job=nightly
  gantry ps -o json`,
    )
    .action(async (flags: PsFlags, command: Command) => {
      const globals = globalsOf(command);
      const keep = flags.filter.map(parseFilter);
      await using gantry = await app.connect(globals);
      const [containers, tasks] = await Promise.all([gantry.containers.list(), gantry.tasks.list()]);
      // Asked for last: a task that did not tell its state is stuck by now.
      const stuck = await gantry.tasks.stuck();
      const states = new Map(tasks.map((task) => [task.id, task]));
      const byStatus = flags.filter.some((filter) => filter.startsWith('status='));
      const rows = containers
        .map((container) => ({
          container,
          state: states.get(container.id),
          stuck: stuck.find(({ containerId }) => containerId === container.id),
        }))
        .filter((row) => flags.all === true || byStatus || isShown(row))
        .filter((row) => keep.every((matches) => matches(row)))
        .toSorted((a, b) => Number(b.container.createdAt - a.container.createdAt));
      if (flags.quiet === true) {
        app.print(rows.map(({ container }) => `${idOf(container, flags)}\n`).join(''));
        return;
      }
      app.show(globals.output, rows.map(jsonOf), {
        header: ['CONTAINER ID', 'IMAGE', 'COMMAND', 'CREATED', 'STATUS', 'NAME'],
        rows: rows.map((row) => cellsOf(row, flags, app.around.nowMs())),
      });
    });

const shown: ReadonlySet<string> = new Set(['running', 'paused', 'pausing', 'stuck']);

const isShown = (row: Row): boolean => shown.has(statusOfRow(row));

/** A task that hangs is `stuck`, whatever it was before. */
const statusOfRow = ({ state, stuck }: Row): string => (stuck === undefined ? statusOf(state) : 'stuck');

/** Words of `ps`: a task that has ended is `exited`, a container without a task `created`. */
export function statusOf(state: ProcessState | undefined): string {
  if (state === undefined) return 'created';
  return state.status === 'stopped' ? 'exited' : state.status;
}

const idOf = ({ id }: ContainerRecord, { trunc }: PsFlags): string => (trunc ? shortId(id) : id);

function commandOf(container: ContainerRecord): readonly string[] {
  try {
    return (specOf(container) as RuntimeSpec).process?.args ?? [];
  } catch {
    // A record without a readable spec is still a container to list.
    return [];
  }
}

function statusText({ state, stuck }: Row, nowMs: number): string {
  if (stuck !== undefined) return `STUCK ${formatDuration(stuck.ageMs)} in ${callOf(stuck)}`;
  const status = statusOf(state);
  if (status === 'running') return 'Up';
  if (status !== 'exited' || state === undefined)
    return status.replace(/^./, (letter) => letter.toUpperCase());
  const since = state.exitedAt === undefined ? '' : ` ${formatAge(state.exitedAt, nowMs)}`;
  return `Exited (${state.exitStatus})${since}`;
}

const callOf = ({ call, execId }: StuckTask): string => (execId === '' ? call : `${call} of ${execId}`);

function cellsOf(row: Row, flags: PsFlags, nowMs: number): string[] {
  const { container } = row;
  const command = commandOf(container).join(' ');
  return [
    idOf(container, flags),
    familiar(container.image),
    flags.trunc ? truncated(command, 30) : command,
    formatAge(container.createdAt, nowMs),
    statusText(row, nowMs),
    nameOf(container),
  ];
}

function jsonOf(row: Row): unknown {
  const { container, state, stuck } = row;
  return {
    id: container.id,
    name: nameOf(container),
    image: container.image,
    command: commandOf(container),
    createdAt: formatInstant(container.createdAt),
    status: statusOfRow(row),
    stuck:
      stuck === undefined
        ? null
        : {
            call: stuck.call,
            execId: stuck.execId,
            since: formatInstant(stuck.since),
            ageMs: stuck.ageMs,
            step: stuck.step,
            reason: stuck.reason,
          },
    pid: state?.pid ?? 0,
    exitCode: state?.status === 'stopped' ? state.exitStatus : null,
    exitedAt: state?.exitedAt === undefined ? null : formatInstant(state.exitedAt),
    labels: container.labels,
  };
}

function parseFilter(text: string): (row: Row) => boolean {
  const [key = '', ...rest] = text.split('=');
  const value = rest.join('=');
  if (value === '') throw usage(`--filter ${JSON.stringify(text)} is not KEY=VALUE`, 'as in status=running');
  switch (key) {
    case 'name':
      return ({ container }) => nameOf(container).includes(value);
    case 'image':
      return ({ container }) => container.image === value || familiar(container.image) === value;
    case 'status':
      return (row) => statusOfRow(row) === value;
    case 'label': {
      const [label = '', ...wanted] = rest;
      return ({ container: { labels } }) =>
        Object.hasOwn(labels, label) && (wanted.length === 0 || labels[label] === wanted.join('='));
    }
    default:
      throw usage(
        `--filter cannot be by ${JSON.stringify(key)}`,
        'it can be by name, image, status or label',
      );
  }
}
