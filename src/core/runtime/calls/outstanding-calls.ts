/**
 * The calls into shims that are under way, as data: what is stuck, since when, in which call, and what was done about it.
 *
 * A call that changes something is listed until its answer comes, even when its caller has gone: ttrpc cannot take it
 * back. A question that is given up at its deadline stays listed until the same question is answered, for the next one
 * will hang as well.
 */
import { type Instant, now } from '../../../base/time.ts';

export interface CallTarget {
  readonly namespace: string;
  readonly id: string;
  /** "" for init. */
  readonly execId: string;
}

export interface StuckCall extends CallTarget {
  /** Method of the task API; "exit" for a process that does not end although it was killed. */
  readonly call: string;
  readonly startedAt: Instant;
  readonly ageMs: number;
  readonly deadlineMs: number;
  /** The last step of the escalation; "" before the first. */
  readonly step: string;
  readonly reason: string;
}

export class OutstandingCall {
  readonly target: CallTarget;
  readonly call: string;
  readonly deadlineMs: number;
  readonly startedAt = now();
  readonly #startedMs = performance.now();
  step = '';
  reason = '';

  constructor(target: CallTarget, call: string, deadlineMs: number) {
    this.target = target;
    this.call = call;
    this.deadlineMs = deadlineMs;
  }

  get ageMs(): number {
    return Math.round(performance.now() - this.#startedMs);
  }

  describe(): StuckCall {
    const { target, call, startedAt, ageMs, deadlineMs, step, reason } = this;
    return { ...target, call, startedAt, ageMs, deadlineMs, step, reason };
  }
}

export class OutstandingCalls {
  readonly #running = new Set<OutstandingCall>();
  readonly #unanswered = new Map<string, OutstandingCall>();

  begin(target: CallTarget, call: string, deadlineMs: number): OutstandingCall {
    const begun = new OutstandingCall(target, call, deadlineMs);
    this.#running.add(begun);
    return begun;
  }

  isRunning(call: OutstandingCall): boolean {
    return this.#running.has(call);
  }

  /** The answer came, an error or not. */
  answered(call: OutstandingCall): void {
    this.#running.delete(call);
    this.#unanswered.delete(keyOf(call));
  }

  /** Nobody waits for the answer any more. */
  givenUp(call: OutstandingCall): void {
    this.#running.delete(call);
    const key = keyOf(call);
    if (!this.#unanswered.has(key)) this.#unanswered.set(key, call);
  }

  /** The task is gone, or a new shim answers for it: what was asked before says nothing any more. */
  forget({ namespace, id }: Pick<CallTarget, 'namespace' | 'id'>): void {
    for (const [key, { target }] of this.#unanswered)
      if (target.namespace === namespace && target.id === id) this.#unanswered.delete(key);
  }

  /** Oldest first. */
  running(): StuckCall[] {
    return [...this.#running].map((call) => call.describe());
  }

  /** Calls past their deadline, oldest first. */
  stuck(namespace: string): StuckCall[] {
    return [...this.#unanswered.values(), ...this.#running]
      .map((call) => call.describe())
      .filter((call) => call.namespace === namespace && call.ageMs >= call.deadlineMs)
      .toSorted((a, b) => b.ageMs - a.ageMs);
  }
}

const keyOf = ({ target, call }: OutstandingCall): string =>
  JSON.stringify([target.namespace, target.id, target.execId, call]);
