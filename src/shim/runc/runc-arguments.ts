/**
 * runc's command lines, as data (runc(8) and its subcommands' pages). crun, youki and others take the same words.
 */

/** Which runc, and where it keeps its state. */
export interface RuncSetup {
  /** A path, or a name that is looked up on PATH. */
  readonly binary: string;
  /** State directory of one namespace. */
  readonly root: string;
  readonly systemdCgroup: boolean;
}

export interface CreateWords {
  readonly id: string;
  readonly bundle: string;
  readonly pidFile: string;
  readonly consoleSocket: string | undefined;
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
}

export interface ExecWords {
  readonly id: string;
  readonly processFile: string;
  readonly pidFile: string;
  readonly consoleSocket: string | undefined;
}

/** What checkpoint and restore have in common (containerd.runc.v1.CheckpointOptions). */
export interface CriuWords {
  readonly imagePath: string;
  readonly workPath: string;
  readonly openTcp: boolean;
  readonly externalUnixSockets: boolean;
  readonly terminal: boolean;
  readonly fileLocks: boolean;
  readonly emptyNamespaces: readonly string[];
  /** soft, full, strict or ignore; "" leaves runc's default. */
  readonly cgroupsMode: string;
}

export interface CheckpointWords extends CriuWords {
  readonly id: string;
  readonly parentPath: string;
  readonly leaveRunning: boolean;
}

export interface RestoreWords extends CriuWords {
  readonly id: string;
  readonly bundle: string;
  readonly pidFile: string;
  readonly consoleSocket: string | undefined;
  readonly noPivotRoot: boolean;
}

const when = (condition: boolean, ...words: string[]): string[] => (condition ? words : []);
const flag = (name: string, value: string | undefined): string[] =>
  value === undefined || value === '' ? [] : [name, value];

/** What stands before the subcommand. Reasons for failure come through the log: stderr may be the container's own. */
export const globalWords = (setup: RuncSetup, logFile: string): string[] => [
  '--root',
  setup.root,
  '--log',
  logFile,
  '--log-format',
  'json',
  ...when(setup.systemdCgroup, '--systemd-cgroup'),
];

export const createWords = (create: CreateWords): string[] => [
  'create',
  '--bundle',
  create.bundle,
  '--pid-file',
  create.pidFile,
  ...flag('--console-socket', create.consoleSocket),
  ...when(create.noPivotRoot, '--no-pivot'),
  ...when(create.noNewKeyring, '--no-new-keyring'),
  create.id,
];

export const execWords = (exec: ExecWords): string[] => [
  'exec',
  '--process',
  exec.processFile,
  '--detach',
  '--pid-file',
  exec.pidFile,
  ...flag('--console-socket', exec.consoleSocket),
  exec.id,
];

const criuWords = (criu: CriuWords): string[] => [
  ...flag('--image-path', criu.imagePath),
  ...flag('--work-path', criu.workPath),
  ...when(criu.openTcp, '--tcp-established'),
  ...when(criu.externalUnixSockets, '--ext-unix-sk'),
  ...when(criu.terminal, '--shell-job'),
  ...when(criu.fileLocks, '--file-locks'),
  ...criu.emptyNamespaces.flatMap((namespace) => ['--empty-ns', namespace]),
  ...flag('--manage-cgroups-mode', criu.cgroupsMode),
];

export const checkpointWords = (checkpoint: CheckpointWords): string[] => [
  'checkpoint',
  ...criuWords(checkpoint),
  ...flag('--parent-path', checkpoint.parentPath),
  ...when(checkpoint.leaveRunning, '--leave-running'),
  checkpoint.id,
];

export const restoreWords = (restore: RestoreWords): string[] => [
  'restore',
  '--detach',
  '--bundle',
  restore.bundle,
  '--pid-file',
  restore.pidFile,
  ...flag('--console-socket', restore.consoleSocket),
  ...when(restore.noPivotRoot, '--no-pivot'),
  ...criuWords(restore),
  restore.id,
];

export const killWords = (id: string, signal: number, all: boolean): string[] => [
  'kill',
  ...when(all, '--all'),
  id,
  String(signal),
];

export const deleteWords = (id: string, force: boolean): string[] => [
  'delete',
  ...when(force, '--force'),
  id,
];
