/** The calls that a shim is working on, by container: what it is stuck in, and for how long. */
import type { Context } from '../base/context.ts';

export interface ShimCall {
  /** As the task API names it: "start". */
  readonly method: string;
  readonly namespace: string;
  readonly id: string;
  /** "" for init. */
  readonly execId: string;
  readonly ageMs: number;
}

interface Entry extends Omit<ShimCall, 'ageMs'> {
  readonly startMs: number;
}

type Handler = (ctx: Context, request: never) => Promise<unknown>;

export class ShimCalls {
  readonly #entries = new Set<Entry>();

  /** Oldest first. */
  list(): ShimCall[] {
    const nowMs = performance.now();
    return [...this.#entries].map(({ startMs, ...call }) => ({
      ...call,
      ageMs: Math.round(nowMs - startMs),
    }));
  }

  /** The same handlers, each call known while it lasts. */
  track<H extends object>(handlers: H): H {
    const tracked = Object.entries(handlers).map(([method, handler]) => [
      method,
      this.#tracked(method, handler as Handler),
    ]);
    return Object.fromEntries(tracked) as H;
  }

  #tracked(method: string, handler: Handler): Handler {
    return async (ctx, request) => {
      const { id = '', execId = '' } = request as { id?: string; execId?: string };
      const entry = { method, namespace: ctx.namespace ?? '', id, execId, startMs: performance.now() };
      this.#entries.add(entry);
      try {
        return await handler(ctx, request);
      } finally {
        this.#entries.delete(entry);
      }
    };
  }
}
