/** At most `permits` holders at once, first come first served. */
export class Semaphore {
  #permits: number;
  /** Negative while more hold it than a smaller number of permits allows. */
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(permits: number) {
    this.#permits = permits;
    this.#free = permits;
  }

  async acquire(): Promise<Disposable> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let held = true;
    return {
      [Symbol.dispose]: (): void => {
        if (!held) return;
        held = false;
        this.#free += 1;
        this.#admit();
      },
    };
  }

  /** Takes nothing from those that hold it; those that wait come in as there is room. */
  resize(permits: number): void {
    this.#free += permits - this.#permits;
    this.#permits = permits;
    this.#admit();
  }

  #admit(): void {
    while (this.#free > 0) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#free -= 1;
      next();
    }
  }
}
