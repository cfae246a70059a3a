/** Takes one process over: its exit, its FIFO ends, its place in the container. */
import type { SavedProcess } from '../../oci/shim-state.ts';
import type { ProcessExit } from '../../platform/platform.ts';
import { AdoptedStdio } from '../io/adopted-stdio.ts';
import { parseCriTarget } from '../io/log-uri.ts';
import { RelayedStdio } from '../io/relayed-stdio.ts';
import type { Container } from '../process/container.ts';
import type { TaskProcess } from '../process/task-process.ts';
import { adoptedExit, isStill } from './adopted-exit.ts';

export interface AdoptedProcess {
  readonly exited: Promise<ProcessExit>;
  /** It had ended before we came, so `exited` resolves soon. */
  readonly isOver: boolean;
}

/** For a process with a pid whose exit is not known. `isPinned` answers for a path. */
export function adoptProcess(
  container: Container,
  process: TaskProcess,
  saved: SavedProcess,
  isPinned: (path: string) => boolean,
): AdoptedProcess {
  const { platform, log } = container.dependencies;
  const { processes, files } = platform;
  const pin = container.pinOf(process);
  const isAlive = isStill(processes, process) && processes.isAlive(process.pid);
  const wasPinned = isPinned(pin);
  if (isAlive && !wasPinned) container.notes.pin(process.pid, pin);
  const target = parseCriTarget(process.io.stdout);
  // A log program may still be reading what an ended one wrote.
  if (target !== undefined && process.attachments !== undefined && !process.io.terminal)
    process.streams = {
      kind: 'direct',
      // Also of an ended one: a shim that was killed may have had some of its output.
      stdio: RelayedStdio.adopt(
        { platform, log, attachments: process.attachments },
        {
          ...{ target, io: process.io, stdinClosed: saved.stdinClosed || !isAlive },
          directory: container.streamsOf(process),
          endsWithProcess: process === container.init,
        },
      ),
    };
  else if ((isAlive || saved.logProgram !== undefined) && !process.io.terminal)
    process.streams = { kind: 'direct', stdio: new AdoptedStdio({ files, processes, log }, saved) };
  if (isAlive && process.io.terminal)
    log.warn(
      { id: container.id, process: process.id },
      'the terminal of a process went with the shim that relayed it; the process is still there',
    );
  return {
    exited: adoptedExit({ processes, log }, process, wasPinned ? pin : undefined),
    isOver: !isAlive,
  };
}
