/**
 * What is done when a call into a shim does not come back, step by step, each with an event and a line in the log:
 * ping; end the runtime process that the shim waits for; the signal to the container's process itself; its whole cgroup,
 * thawed if it must be; kill the shim, whose containers a new one takes over; unmount what is left.
 *
 * No step harms a container that nobody asked to end. The steps of one call end with its answer.
 */
import { raceTime } from '../../../base/bounded-wait.ts';
import { background, withNamespace } from '../../../base/context.ts';
import { ContainerdError, deadlineExceeded } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import type { Platform } from '../../../platform/platform.ts';
import { packAny } from '../../../wire/any.ts';
import { TaskEscalatedSchema } from '../../../wire/gen/gantry/runtime/v1/runtime_pb.js';
import type { EventPublisher } from '../../events/event-exchange.ts';
import type { ShimConnection } from '../shims/shim-connection.ts';
import type { Task } from '../tasks/task.ts';
import type { Deadlines } from './deadlines.ts';
import { killShim, type Situation, type Step, stepsFor } from './escalation-steps.ts';
import type { OutstandingCall, OutstandingCalls } from './outstanding-calls.ts';

export interface EscalationDependencies {
  readonly platform: Platform;
  readonly events: EventPublisher;
  readonly calls: OutstandingCalls;
  readonly deadlines: Deadlines;
  readonly log: Logger;
}

/** A call that may be escalated. */
export interface Escalated {
  readonly call: OutstandingCall;
  readonly task: Task;
  /** What a kill was asked to send. */
  readonly signal?: number | undefined;
}

/** As many of the calls of a shim as a line of the log can show. */
const loggedCalls = 20;

export class Escalation {
  readonly #dependencies: EscalationDependencies;
  readonly #probing = new Set<string>();

  constructor(dependencies: EscalationDependencies) {
    this.#dependencies = dependencies;
  }

  /** Answers as `answer` does. Errors: DeadlineExceeded when every step was taken and no answer came. */
  async bounded<Value>(escalated: Escalated, answer: Promise<Value>): Promise<Value> {
    const { call } = escalated;
    const settled = answer.then(
      () => {},
      () => {},
    );
    if ((await raceTime(settled, call.deadlineMs)) === undefined) await this.#climb(escalated, settled);
    if (this.#dependencies.calls.isRunning(call)) {
      answer.catch(() => {});
      throw gaveUp(call);
    }
    return answer;
  }

  /** Pings the shim after a question that was not answered; one that is ours and says nothing is replaced. */
  async probe(escalated: Escalated): Promise<void> {
    const { link } = escalated.task;
    // Of many questions that were not answered at once, one probe is enough.
    if (this.#probing.has(link.address.address)) return;
    this.#probing.add(link.address.address);
    try {
      const connection = link.current;
      if (connection === undefined || (await this.#ping(escalated, connection)) || !link.isGantry) return;
      const found = await killShim({ connection, task: escalated.task });
      if (found !== undefined) await this.#take(escalated, 'shim-kill', found);
    } finally {
      this.#probing.delete(link.address.address);
    }
  }

  async #climb(escalated: Escalated, settled: Promise<void>): Promise<void> {
    const { task, call } = escalated;
    const stepMs = this.#dependencies.deadlines.ms('task.escalation');
    const connection = task.link.current;
    const answers = connection !== undefined && (await this.#ping(escalated, connection));
    const { platform } = this.#dependencies;
    const situation: Situation = { ...escalated, connection, answers, platform };
    for (const step of stepsFor(situation)) {
      // It may have come while the last step was logged.
      if ((await raceTime(settled, 0)) !== undefined) return;
      const found = await attempt(step, situation);
      if (found === undefined) continue;
      await this.#take(escalated, step.name, found);
      const waitMs = step.wait === undefined ? 0 : this.#dependencies.deadlines.ms(step.wait);
      if ((await raceTime(settled, Math.max(waitMs, stepMs))) !== undefined) return;
    }
    await this.#take(escalated, 'gave-up', `no answer after ${call.ageMs} ms`);
  }

  /** Any answer is one, also that the shim does not know the container. */
  async #ping(escalated: Escalated, connection: ShimConnection): Promise<boolean> {
    const { namespace, id } = escalated.task.bundle;
    const timeoutMs = this.#dependencies.deadlines.ms('task.escalation');
    const error = await connection.call('connect', { id }, { namespace, timeoutMs }).then(
      ({ shimPid }) => {
        escalated.task.link.learnProcess(shimPid);
        return undefined;
      },
      (thrown: unknown) => ContainerdError.from(thrown),
    );
    const answers = error?.code !== 'DeadlineExceeded' && error?.code !== 'Unavailable';
    const calls = this.#dependencies.calls.running().slice(0, loggedCalls);
    const found = answers ? 'the shim answers, the call hangs in it' : 'the shim does not answer';
    await this.#take(escalated, 'ping', found, { calls });
    return answers;
  }

  async #take({ call, task }: Escalated, step: string, reason: string, fields: object = {}): Promise<void> {
    const { log, events } = this.#dependencies;
    const { namespace, id } = task.bundle;
    const { execId } = call.target;
    call.step = step;
    call.reason = reason;
    const ageMs = call.ageMs;
    log.warn(
      { namespace, id, ...(execId !== '' && { execId }), call: call.call, ageMs, step, reason, ...fields },
      'a call into a shim does not come back',
    );
    const body = { containerId: id, execId, call: call.call, step, reason, ageMs: BigInt(ageMs) };
    try {
      await events.publish(
        withNamespace(background(log), namespace),
        '/gantry/task-escalated',
        packAny(TaskEscalatedSchema, body),
      );
    } catch (error) {
      log.warn({ error }, 'could not publish an escalation');
    }
  }
}

async function attempt(step: Step, situation: Situation): Promise<string | undefined> {
  try {
    return await step.take(situation);
  } catch (error) {
    return `failed: ${ContainerdError.from(error).message}`;
  }
}

const gaveUp = ({ call, target, ageMs, step, reason }: OutstandingCall): ContainerdError =>
  deadlineExceeded(
    `${call} of ${target.execId === '' ? '' : `process ${target.execId} of `}task ${target.id}: the shim did not come back within ${ageMs} ms (${step}: ${reason}); the call is listed as stuck until it does`,
  );
