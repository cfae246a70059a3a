/** Metrics as Prometheus would read them: families with their types, and samples by name and labels. */
import assert from 'node:assert/strict';

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Scrape {
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];
  /** The one sample of `name` whose labels include `labels`. */
  value(name: string, labels?: Readonly<Record<string, string>>): number;
}

export async function scrape(port: number): Promise<Scrape> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/metrics`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  return parse(await response.text());
}

const line = /^(?<name>[A-Za-z_:][A-Za-z0-9_:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)$/;

/** Strict: a line that is no sample, no comment and not empty fails. */
export function parse(text: string): Scrape {
  const types = new Map<string, string>();
  const samples: Sample[] = [];
  for (const row of text.split('\n')) {
    const [, family, type] = /^# TYPE (\S+) (\S+)$/.exec(row) ?? [];
    if (family !== undefined && type !== undefined) {
      assert.ok(!types.has(family), `${family} has two types`);
      types.set(family, type);
    } else if (row !== '' && !row.startsWith('#')) samples.push(sampleOf(row));
  }
  return {
    types,
    samples,
    value: (name, wanted = {}) => {
      const found = samples.filter(
        (sample) =>
          sample.name === name &&
          Object.entries(wanted).every(([key, value]) => sample.labels[key] === value),
      );
      assert.equal(found.length, 1, `${found.length} samples of ${name} with ${JSON.stringify(wanted)}`);
      return found[0]?.value ?? Number.NaN;
    },
  };
}

function sampleOf(row: string): Sample {
  const { name, labels = '', value } = line.exec(row)?.groups ?? {};
  assert.ok(name !== undefined, `no sample: ${row}`);
  const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(
    ([, key, text]): [string, string] => [key ?? '', text ?? ''],
  );
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}

/** `type name{labels}` of each family, without values: what a dashboard depends on. */
export const shapeOf = ({ types, samples }: Scrape): Set<string> =>
  new Set(
    samples.map(({ name, labels }) => {
      const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
      return `${types.get(family)} ${name}{${Object.keys(labels).toSorted().join(',')}}`;
    }),
  );
