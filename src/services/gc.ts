/** gantry.gc.v1: why an object is still there, and when it goes. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { type NamespacedContext, requireNamespace } from '../base/context.ts';
import { instantOfMs } from '../base/time.ts';
import type { Explanation } from '../core/gc/explanation.ts';
import type { CollectionSchedule } from '../core/gc/garbage-collector.ts';
import type { NodeParts } from '../core/gc/reachability.ts';
import { type ExplanationSchema, Gc, type ScheduleSchema } from '../wire/gen/gantry/gc/v1/gc_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';

export interface GcServiceDependencies {
  readonly explain: (
    ctx: NamespacedContext,
    query: { name: string; kind: string | undefined },
  ) => Promise<Explanation[]>;
  readonly schedule: () => CollectionSchedule;
}

const mostRoots = 100;

export const gcService = ({ explain, schedule }: GcServiceDependencies): ServedService =>
  serve(Gc, {
    why: async (ctx, { name, kind }) => {
      const query = { name, kind: kind === '' ? undefined : kind };
      const explanations = await explain(requireNamespace(ctx), query);
      return {
        explanations: explanations.map(explanationToWire),
        schedule: scheduleToWire(schedule(), Date.now()),
      };
    },
  });

const objectToWire = ({ kind, id }: NodeParts) => ({ kind, id });

function explanationToWire({
  object,
  chain,
  roots,
}: Explanation): MessageInitShape<typeof ExplanationSchema> {
  const expiries = roots.flatMap(({ expiresAt }) => (expiresAt === undefined ? [] : [expiresAt]));
  const last = expiries.reduce((later, each) => (each > later ? each : later), expiries[0] ?? instantOfMs(0));
  return {
    object: objectToWire(object),
    kept: roots.length > 0,
    chain: chain.map((link) => ({ object: objectToWire(link.object), why: link.why })),
    roots: roots.slice(0, mostRoots).map((root) => ({
      object: objectToWire(root.object),
      why: root.why,
      ...(root.expiresAt !== undefined && { expiresAt: timestampOf(root.expiresAt) }),
    })),
    rootCount: roots.length,
    ...(roots.length > 0 && expiries.length === roots.length && { keptUntil: timestampOf(last) }),
  };
}

const scheduleToWire = (
  { isRunning, dueInMs, writesNeeded }: CollectionSchedule,
  nowMs: number,
): MessageInitShape<typeof ScheduleSchema> => ({
  running: isRunning,
  writesNeeded,
  ...(dueInMs !== undefined && { dueAt: timestampOf(instantOfMs(nowMs + dueInMs)) }),
});
