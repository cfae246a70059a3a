/** The tasks that the daemon knows, one a container. */
import type { ShimLink } from '../shims/shim-link.ts';
import { type Task, taskKey } from './task.ts';

export class TaskTable implements Iterable<Task> {
  readonly #tasks = new Map<string, Task>();

  get(namespace: string, id: string): Task | undefined {
    return this.#tasks.get(taskKey(namespace, id));
  }

  /** It is there, and not another of the same name. */
  has(task: Task): boolean {
    return this.#tasks.get(task.key) === task;
  }

  add(task: Task): void {
    this.#tasks.set(task.key, task);
  }

  /** Does nothing when it is not there, also when another has its name. */
  remove(task: Task): void {
    if (this.has(task)) this.#tasks.delete(task.key);
  }

  of(link: ShimLink): Task[] {
    return [...this].filter((task) => task.link === link);
  }

  in(namespace: string): Task[] {
    return [...this].filter(({ bundle }) => bundle.namespace === namespace);
  }

  [Symbol.iterator](): Iterator<Task> {
    return this.#tasks.values();
  }
}
