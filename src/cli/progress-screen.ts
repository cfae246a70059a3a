/** Draws frames over each other at the bottom of a terminal, ten times a second at most. */

export interface Terminal {
  write(text: string): unknown;
  readonly columns?: number;
  readonly rows?: number;
}

const frameMs = 100;
const escape = '\u001b[';

/** Dispose draws the last frame and leaves it there. */
export class ProgressScreen implements Disposable {
  readonly #terminal: Terminal;
  readonly #frame: (columns: number) => string[];
  readonly #timer: NodeJS.Timeout;
  #drawn = 0;

  constructor({ terminal, frame }: { terminal: Terminal; frame: (columns: number) => string[] }) {
    this.#terminal = terminal;
    this.#frame = frame;
    terminal.write(`${escape}?25l`);
    this.#draw();
    this.#timer = setInterval(() => this.#draw(), frameMs);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#draw();
    this.#terminal.write(`${escape}?25h`);
  }

  #draw(): void {
    const { columns = 80, rows = 24 } = this.#terminal;
    // What has scrolled off cannot be drawn over: the last lines are what counts.
    const lines = this.#frame(columns).slice(-Math.max(rows - 1, 1));
    const up = this.#drawn > 0 ? `${escape}${this.#drawn}A` : '';
    this.#terminal.write(`${up}\r${lines.map((line) => `${escape}2K${line}\n`).join('')}${escape}J`);
    this.#drawn = lines.length;
  }
}
