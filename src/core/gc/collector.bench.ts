/**
 * A collection over 20,000 snapshots and 100,000 content records, half of each garbage: how long writers wait and how
 * long the event loop stands still. Run by hand: `node src/core/gc/collector.bench.ts`.
 */
import { createHash } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { StoreFixture } from '../metadata/store.fixture.ts';

const contents = 100_000;
const snapshots = 20_000;
const digestAt = (at: number): string => `sha256:${createHash('sha256').update(String(at)).digest('hex')}`;

await using fixture = await StoreFixture.make();
await fixture.database.write((sql) => {
  for (let at = 0; at < contents; at += 1) {
    // One manifest for nine layers, as images have it.
    const refs = Array.from({ length: 9 }, (_, nth) => [
      `containerd.io/gc.ref.content.l.${nth}`,
      digestAt(at + nth + 1),
    ]);
    const labels = at % 10 === 0 ? Object.fromEntries(refs) : { 'containerd.io/distribution.source.r': 'x' };
    sql.run("INSERT INTO content VALUES ('default', ?, 1, ?, 1, 1)", digestAt(at), JSON.stringify(labels));
    if (at % 20 === 0)
      sql.run(
        "INSERT INTO images VALUES ('default', ?, 'm', ?, 1, '{}', '{}', 1, 1)",
        `image ${at}`,
        digestAt(at),
      );
  }
  for (let at = 0; at < snapshots; at += 1)
    sql.run(
      "INSERT INTO snapshots VALUES ('default', 'records', ?, ?, ?, 'committed', ?, 1, 1, NULL, NULL)",
      `s${at}`,
      `default/${at}/s`,
      at % 10 === 0 ? null : `s${at - 1}`,
      at % 20 === 9 ? '{"containerd.io/gc.root":"x"}' : '{}',
    );
});
const delay = monitorEventLoopDelay({ resolution: 5 });
for (const round of ['first', 'second']) {
  delay.reset();
  delay.enable();
  const started = performance.now();
  const { pauseMs, garbage } = await fixture.collector.run(fixture.ctx);
  delay.disable();
  console.log(
    `${round} run: writers waited ${pauseMs.toFixed(0)} ms, whole run ${(performance.now() - started).toFixed(0)} ms, ` +
      `event loop at most ${(delay.max / 1e6).toFixed(0)} ms; removed ${garbage.content.length} content, ` +
      `${garbage.snapshots.length} snapshots`,
  );
}
const listed = performance.now();
let count = 0;
for await (const _ of fixture.store.content.list(fixture.ctx, [
  'labels."containerd.io/distribution.source.r"~=x',
]))
  count += 1;
console.log(
  `listed ${count} of 50,000 records through a filter in ${(performance.now() - listed).toFixed(0)} ms`,
);
