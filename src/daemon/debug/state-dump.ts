/** Everything one would ask of a daemon that seems stuck, as plain data. No secrets: it goes into logs and to support. */
import { formatInstant } from '../../base/time.ts';
import type { PluginRecord } from '../../core/plugins/graph.ts';
import type { InFlightCall, InFlightCalls } from '../../wire/in-flight.ts';

export interface StateDumpDependencies {
  readonly calls: InFlightCalls;
  readonly plugins: () => readonly PluginRecord[];
}

export function describeState({ calls, plugins }: StateDumpDependencies): Record<string, unknown> {
  return {
    pid: process.pid,
    uptimeSeconds: Math.round(process.uptime()),
    memory: process.memoryUsage(),
    waitingFor: tally(process.getActiveResourcesInfo()),
    calls: describeCalls(calls),
    plugins: plugins().map(({ type, id, status, error }) => ({
      plugin: `${type}.${id}`,
      status,
      ...(error !== undefined && { error: error.message }),
    })),
  };
}

/** Oldest first. What is not known is left out. */
export const describeCalls = (calls: InFlightCalls): Record<string, unknown>[] =>
  calls.list().map((call: InFlightCall) => ({ ...call, startedAt: formatInstant(call.startedAt) }));

function tally(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
