/**
 * What a shim holds and does, as one line of its log: asked for by SIGUSR1 when it does not answer calls any more, or
 * when one of them takes too long.
 */
import type { Logger } from '../base/logger.ts';
import type { Container } from './process/container.ts';
import type { ShimCall } from './shim-calls.ts';

/** The log is a FIFO, and what does not fit into it at once is lost. */
const entriesMax = 150;

export interface DumpedShim {
  readonly containers: readonly Container[];
  readonly calls: { list(): readonly ShimCall[] };
}

export function dumpState(shim: DumpedShim, log: Logger): void {
  const { containers } = shim;
  const calls = shim.calls.list();
  log.info(
    {
      pid: process.pid,
      containers: containers.slice(0, entriesMax).map(describe),
      containersInAll: containers.length,
      calls: calls.slice(0, entriesMax),
      callsInAll: calls.length,
    },
    'state of the shim',
  );
}

const describe = ({ namespace, id, init, paused, execs }: Container) => ({
  id: `${namespace}/${id}`,
  pid: init.pid,
  phase: paused ? 'paused' : init.step,
  ...(execs.size === 0 ? {} : { execs: [...execs.values()].map((exec) => `${exec.id} ${exec.step}`) }),
});
