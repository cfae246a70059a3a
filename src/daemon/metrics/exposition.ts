/**
 * The text format of Prometheus, for series that are made anew at each scrape and kept by nobody. What counts up over
 * the life of the daemon is in prom-client's registry; this is for values that only pass through.
 * Source: Prometheus, "Exposition formats", text version 0.0.4.
 */
export type Labels = Readonly<Record<string, string>>;

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
}

/** Samples by family, in the order in which families first came. */
export class Exposition {
  readonly #families = new Map<string, string[]>();

  /** `labels` as `labelText` made them, so that they are made once for all series of one container. */
  add({ name, help, type }: Family, labels: string, value: number | bigint): void {
    let lines = this.#families.get(name);
    if (lines === undefined) {
      lines = [`# HELP ${name} ${escaped(help)}`, `# TYPE ${name} ${type}`];
      this.#families.set(name, lines);
    }
    lines.push(labels === '' ? `${name} ${value}` : `${name}{${labels}} ${value}`);
  }

  /** Ends with a line end unless it is empty. */
  toString(): string {
    return [...this.#families.values()].map((lines) => `${lines.join('\n')}\n`).join('');
  }
}

export const labelText = (labels: Labels): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`)
    .join(',');

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
