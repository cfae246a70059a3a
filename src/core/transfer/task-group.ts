/**
 * Work that goes on side by side and fails as one: the first failure stops the others, and nobody leaves before all
 * have ended, so that nothing is left running or open behind a failed story.
 */
export class TaskGroup {
  readonly #aborter = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  /** For the tasks: fires with the caller's signal and with the first failure. */
  readonly signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#aborter.signal]);
  }

  /** May be called by running tasks too. The result rejects when the task does; it need not be awaited. */
  run<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = task();
    const settled = result.then(
      () => undefined,
      (error: unknown) => {
        this.#failure ??= { error };
        this.#aborter.abort(error);
      },
    );
    this.#running.add(settled);
    void settled.finally(() => this.#running.delete(settled));
    return result;
  }

  /** Waits for all, also those started meanwhile; throws the first failure. */
  async done(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
