/**
 * Every call of the daemon into a shim goes through here: it survives the death of the shim where it can (ShimLink.call),
 * is listed while it is under way (outstanding-calls.ts), and what does not come back is escalated (escalation.ts). The
 * caller leaves when it likes; none of that depends on it.
 */
import { raceSignal } from '../../../base/bounded-wait.ts';
import type { NamespacedContext } from '../../../base/context.ts';
import { hasCode } from '../../../base/errors.ts';
import type { Answer, Request } from '../shims/repeat-rules.ts';
import type { Task } from '../tasks/task.ts';
import type { BoundedMethod, Deadlines } from './deadlines.ts';
import type { Escalation } from './escalation.ts';
import type { OutstandingCalls } from './outstanding-calls.ts';

export interface TaskCallsDependencies {
  readonly calls: OutstandingCalls;
  readonly escalation: Escalation;
  readonly deadlines: Deadlines;
}

/** Ask and change nothing: given up at their deadline. */
const questions: ReadonlySet<BoundedMethod> = new Set(['state', 'pids', 'connect', 'stats']);

export class TaskCalls {
  readonly #dependencies: TaskCallsDependencies;

  constructor(dependencies: TaskCallsDependencies) {
    this.#dependencies = dependencies;
  }

  /** Errors: what the shim answers; Unavailable when it is gone for good; DeadlineExceeded; Canceled. */
  async call<M extends BoundedMethod>(
    ctx: NamespacedContext,
    task: Task,
    method: M,
    request: Request<M>,
  ): Promise<Answer<M>> {
    return raceSignal(this.#watched(task, method, request), ctx.signal);
  }

  async #watched<M extends BoundedMethod>(task: Task, method: M, request: Request<M>): Promise<Answer<M>> {
    const { calls, deadlines, escalation } = this.#dependencies;
    const { namespace, id } = task.bundle;
    const { execId = '', signal } = request as { execId?: string; signal?: number };
    const deadlineMs = deadlines.ofCallMs(method);
    const call = calls.begin({ namespace, id, execId }, method, deadlineMs);
    const isQuestion = questions.has(method);
    // Of each try: while a shim is taken over there is nobody who could answer, and that has bounds of its own.
    const answer = task.link.call(method, request, {
      namespace,
      ...(isQuestion && { timeoutMs: deadlineMs }),
    });
    if (!isQuestion) {
      answer.then(
        () => calls.answered(call),
        () => calls.answered(call),
      );
      return escalation.bounded({ call, task, ...(method === 'kill' && { signal }) }, answer);
    }
    try {
      const answered = await answer;
      calls.answered(call);
      return answered;
    } catch (error) {
      if (!hasCode(error, 'DeadlineExceeded')) calls.answered(call);
      else {
        calls.givenUp(call);
        // Whether the shim lives is found out for the sake of the next one who asks.
        void escalation.probe({ call, task });
      }
      throw error;
    }
  }
}
