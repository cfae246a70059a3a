/** prom-client, fetched when metrics are asked for: a daemon without them keeps none of it in memory. */
import type * as promClient from 'prom-client';

export type PromClient = Pick<typeof promClient, 'Counter' | 'Gauge' | 'Histogram' | 'Registry'>;

export async function loadPromClient(): Promise<PromClient> {
  // CommonJS: depending on who loads it, its exports are names or the default.
  const loaded = (await import('prom-client')) as typeof promClient & { default?: typeof promClient };
  return loaded.default ?? loaded;
}
