/**
 * Which exits of processes have been announced, so that each is announced once: a shim that takes over from a dead one
 * tells again what may not have arrived, and the daemon tells what a dead shim no longer can.
 *
 * Fed by the events of shims in the order in which they come. A new container or exec under a known name begins anew.
 */
import { limits } from '../../base/limits.ts';
import { unpackAny } from '../../wire/any.ts';
import {
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExitSchema,
} from '../../wire/gen/containerd/events/task_pb.js';
import { instantOf } from '../../wire/timestamps.ts';
import type { Envelope } from '../events/event-exchange.ts';
import type { ProcessEnd } from './task-manager.ts';

interface Known {
  readonly exits: Map<string, ProcessEnd>;
  deleted: boolean;
}

export class ExitLedger {
  readonly #containers = new Map<string, Known>();

  /** The announced end of init ("") or an exec. */
  exitOf(namespace: string, id: string, execId: string): ProcessEnd | undefined {
    return this.#containers.get(keyOf(namespace, id))?.exits.get(execId);
  }

  /** The container's deletion was announced. */
  isDeleted(namespace: string, id: string): boolean {
    return this.#containers.get(keyOf(namespace, id))?.deleted ?? false;
  }

  /** The container and all that is known of it are gone. */
  forget(namespace: string, id: string): void {
    this.#containers.delete(keyOf(namespace, id));
  }

  /** False for an exit that was announced before. Other events are noted. Errors: InvalidArgument (malformed event). */
  admit({ namespace, topic, event }: Pick<Envelope, 'namespace' | 'topic' | 'event'>): boolean {
    switch (topic) {
      case '/tasks/create':
        this.forget(namespace, unpackAny(TaskCreateSchema, event).containerId);
        return true;
      case '/tasks/exec-added': {
        const { containerId, execId } = unpackAny(TaskExecAddedSchema, event);
        this.#containers.get(keyOf(namespace, containerId))?.exits.delete(execId);
        return true;
      }
      case '/tasks/exit': {
        const { containerId, id, pid, exitStatus, exitedAt } = unpackAny(TaskExitSchema, event);
        const end = { pid, exitStatus, exitedAt: instantOf(exitedAt) };
        return this.#admitExit(namespace, containerId, id === containerId ? '' : id, end);
      }
      case '/tasks/delete': {
        const { containerId, id } = unpackAny(TaskDeleteSchema, event);
        if (id === '' || id === containerId) this.#of(namespace, containerId).deleted = true;
        return true;
      }
      default:
        return true;
    }
  }

  #admitExit(namespace: string, id: string, execId: string, end: ProcessEnd): boolean {
    const { exits } = this.#of(namespace, id);
    if (exits.get(execId)?.pid === end.pid) return false;
    exits.delete(execId);
    exits.set(execId, end);
    if (exits.size > limits.rememberedExecExits + 1) {
      const oldest = [...exits.keys()].find((known) => known !== '');
      if (oldest !== undefined) exits.delete(oldest);
    }
    return true;
  }

  #of(namespace: string, id: string): Known {
    const key = keyOf(namespace, id);
    let known = this.#containers.get(key);
    if (known === undefined) {
      known = { exits: new Map(), deleted: false };
      this.#containers.set(key, known);
    }
    return known;
  }
}

const keyOf = (namespace: string, id: string): string => `${namespace}/${id}`;
