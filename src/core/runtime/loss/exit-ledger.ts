/**
 * Which exits of processes have been announced, so that each is announced once: a shim that takes over from a dead one
 * tells again what may not have arrived, and the daemon tells what a dead shim no longer can.
 *
 * Fed by the events of shims in the order in which they come. A new container or exec under a known name begins anew.
 */
import { limits } from '../../../base/limits.ts';
import { unpackAny } from '../../../wire/any.ts';
import {
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExitSchema,
} from '../../../wire/gen/containerd/events/task_pb.js';
import { instantOf } from '../../../wire/timestamps.ts';
import type { Envelope } from '../../events/event-exchange.ts';
import type { ProcessEnd } from '../task-manager.ts';

type Ends = Map<string, ProcessEnd>;

export class ExitLedger {
  readonly #containers = new Map<string, Ends>();
  /** Containers whose deletion was announced, the oldest first; what is known of those is forgotten in time. */
  readonly #deleted = new Set<string>();

  /** The announced end of init ("") or an exec. */
  exitOf(namespace: string, id: string, execId: string): ProcessEnd | undefined {
    return this.#containers.get(keyOf(namespace, id))?.get(execId);
  }

  /** The container's deletion was announced. */
  isDeleted(namespace: string, id: string): boolean {
    return this.#deleted.has(keyOf(namespace, id));
  }

  /** The container and all that is known of it are gone. */
  forget(namespace: string, id: string): void {
    this.#containers.delete(keyOf(namespace, id));
    this.#deleted.delete(keyOf(namespace, id));
  }

  /** False for an exit or a deletion that was announced before. Other events are noted. Errors: InvalidArgument (malformed event). */
  admit({ namespace, topic, event }: Pick<Envelope, 'namespace' | 'topic' | 'event'>): boolean {
    switch (topic) {
      case '/tasks/create':
        this.forget(namespace, unpackAny(TaskCreateSchema, event).containerId);
        return true;
      case '/tasks/exec-added': {
        const { containerId, execId } = unpackAny(TaskExecAddedSchema, event);
        this.#containers.get(keyOf(namespace, containerId))?.delete(execId);
        return true;
      }
      case '/tasks/exit': {
        const { containerId, id, pid, exitStatus, exitedAt } = unpackAny(TaskExitSchema, event);
        const end = { pid, exitStatus, exitedAt: instantOf(exitedAt) };
        return this.#admitExit(namespace, containerId, id === containerId ? '' : id, end);
      }
      case '/tasks/delete': {
        const { containerId, id } = unpackAny(TaskDeleteSchema, event);
        return (id !== '' && id !== containerId) || this.#admitDeletion(keyOf(namespace, containerId));
      }
      default:
        return true;
    }
  }

  #admitExit(namespace: string, id: string, execId: string, end: ProcessEnd): boolean {
    const key = keyOf(namespace, id);
    const ends = this.#containers.get(key) ?? new Map<string, ProcessEnd>();
    if (ends.get(execId)?.pid === end.pid) return false;
    this.#containers.set(key, ends);
    ends.delete(execId);
    ends.set(execId, end);
    if (ends.size > limits.rememberedExecExits + 1) {
      const oldest = [...ends.keys()].find((known) => known !== '');
      if (oldest !== undefined) ends.delete(oldest);
    }
    return true;
  }

  #admitDeletion(key: string): boolean {
    if (this.#deleted.has(key)) return false;
    this.#deleted.add(key);
    const [oldest] = this.#deleted;
    if (this.#deleted.size > limits.rememberedDeletions && oldest !== undefined) {
      this.#deleted.delete(oldest);
      this.#containers.delete(oldest);
    }
    return true;
  }
}

const keyOf = (namespace: string, id: string): string => `${namespace}/${id}`;
