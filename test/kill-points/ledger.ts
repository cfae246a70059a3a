/** What was promised, and every promise that was broken. */

/** What events on processes say; a field that is zero or empty is absent. */
interface ProcessFields {
  readonly containerId?: string;
  readonly id?: string;
  readonly pid?: number;
  readonly exitStatus?: number;
}

export class Ledger {
  readonly #broken: string[] = [];
  readonly #exits = new Map<string, string>();
  readonly #deleted = new Set<string>();
  readonly counts: Record<string, number> = {};

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  get broken(): readonly string[] {
    return this.#broken;
  }

  break(what: string): void {
    this.#broken.push(what);
  }

  expectStatus(process: string, actual: number, expected: number): void {
    this.count('exit codes');
    if (actual !== expected) this.break(`${process} ended with ${actual} instead of ${expected}`);
  }

  /** Every process ends once, and a container is deleted after its end. */
  heard(topic: string, { containerId, id: process, pid, exitStatus }: ProcessFields): void {
    const container = containerId ?? '';
    const id = process ?? container;
    if (topic === '/tasks/delete' && id === container) this.#deleted.add(container);
    if (topic !== '/tasks/exit') return;
    this.count('exit events');
    const key = `${container} ${id}`;
    const told = `pid ${pid ?? 0}, status ${exitStatus ?? 0}`;
    const before = this.#exits.get(key);
    if (before !== undefined) this.break(`the end of ${key} was told twice: ${before}; ${told}`);
    if (this.#deleted.has(container)) this.break(`the end of ${key} was told after its container's deletion`);
    this.#exits.set(key, told);
  }
}
