/**
 * The pages of the debug socket. Paths are containerd's where the question is the same; the answers are of this runtime:
 * JSON, .cpuprofile and .heapsnapshot in place of Go's formats, and the calls in flight in place of goroutines.
 */
import { invalidArgument, unimplemented } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { parseDurationMs } from '../../core/plugins/duration.ts';
import type { Page, PageHandler } from '../../wire/http/server.ts';
import type { InFlightCalls } from '../../wire/in-flight.ts';
import { describeCalls } from './state-dump.ts';

export interface DebugPagesDependencies {
  readonly calls: InFlightCalls;
  readonly describe: () => Record<string, unknown>;
}

const defaultProfileSeconds = 30;

const index = `GET what              gives
/debug/state            calls in flight, plugins, memory, what the event loop waits for
/debug/calls            calls in flight, oldest first
/debug/vars             command line and memory
/debug/pprof/profile    CPU profile of ?seconds=30 (.cpuprofile)
/debug/pprof/heap       heap snapshot (.heapsnapshot); the daemon stands still meanwhile
/debug/pprof/goroutine  calls in flight as text
/debug/pprof/cmdline    command line
`;

/** What only a Go program has. */
const goOnly = ['allocs', 'block', 'mutex', 'symbol', 'threadcreate', 'trace'] as const;

export function debugPages({ calls, describe }: DebugPagesDependencies): Map<string, PageHandler> {
  const pages: readonly (readonly [string, PageHandler])[] = [
    ['/debug/', () => text(index)],
    ['/debug/pprof/', () => text(index)],
    ['/debug/state', () => json(describe())],
    ['/debug/calls', () => json(describeCalls(calls))],
    ['/debug/vars', () => json({ cmdline: process.argv, memory: process.memoryUsage() })],
    ['/debug/pprof/cmdline', () => text(process.argv.join('\0'))],
    ['/debug/pprof/goroutine', () => text(callsAsText(calls))],
    ['/debug/pprof/profile', cpuProfile],
    ['/debug/pprof/heap', heapSnapshot],
    ...goOnly.map((name): [string, PageHandler] => [
      `/debug/pprof/${name}`,
      () => {
        throw unimplemented(`${name}, which is a profile of Go programs: see /debug/ for what there is`);
      },
    ]),
  ];
  return new Map(pages);
}

const text = (body: string): Page => ({ contentType: 'text/plain; charset=utf-8', body });
const json = (value: unknown): Page => ({
  contentType: 'application/json; charset=utf-8',
  body: `${JSON.stringify(value, undefined, 2)}\n`,
});

const cpuProfile: PageHandler = async ({ query, signal }) => {
  const seconds = secondsOf(query.get('seconds'));
  const body = await (await profiler()).cpuProfile(seconds, { signal });
  return { contentType: 'application/json', body, fileName: 'gantryd.cpuprofile' };
};

const heapSnapshot: PageHandler = async () => ({
  contentType: 'application/json',
  body: (await profiler()).heapSnapshot(),
  fileName: 'gantryd.heapsnapshot',
});

/** Fetched when asked for: the inspector costs memory from the moment it is loaded. */
const profiler = lazily(async () => new (await import('./profiler.ts')).Profiler());

function lazily<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => (made ??= make());
}

/** A number, or a duration as `ctr pprof` writes it. */
function secondsOf(given: string | null): number {
  if (given === null || given === '') return defaultProfileSeconds;
  const ms = parseDurationMs(given);
  const seconds = ms === undefined ? Number(given) : ms / 1000;
  if (!(seconds > 0 && seconds <= limits.profileSeconds))
    throw invalidArgument(
      `seconds: must be more than 0 and at most ${limits.profileSeconds}, not ${JSON.stringify(given)}`,
    );
  return seconds;
}

function callsAsText(calls: InFlightCalls): string {
  const list = calls.list();
  const lines = list.map(({ id, protocol, method, namespace, ageMs, deadlineInMs, peer }) =>
    [
      `call ${id}`,
      `${ageMs}ms`,
      protocol,
      method,
      ...(namespace === undefined ? [] : [`namespace=${namespace}`]),
      ...(deadlineInMs === undefined ? [] : [`deadline in ${deadlineInMs}ms`]),
      ...(peer === undefined ? [] : [`pid=${peer.pid} uid=${peer.uid}`]),
    ].join('  '),
  );
  return [`${list.length} calls in flight (this program has no goroutines)`, ...lines, ''].join('\n');
}
