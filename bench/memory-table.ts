/**
 * PSS of daemon and shims against containerd, with 0, 10, 50 and 200 containers, at once after the last start and at
 * rest: `node bench/memory-table.ts [COUNT…]`. Prints a Markdown table. Run it while nothing else runs.
 */
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { until } from '../src/testing/until.ts';
import { type Daemon, startGantry, startPeer } from '../test/support/daemon.ts';
import { startRegistry } from '../test/support/registry.ts';
import { onPrivateNode, pssMb } from './memory.ts';

/** Long enough for both to have done what they do about memory when nothing happens. */
const restMs = 60_000;

onPrivateNode();

/** runc's state of the peer is the machine's, not the daemon's. */
const prefix = `memory-${randomBytes(4).toString('hex')}`;
const counts = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [0, 10, 50, 200];
const measure = (daemon: Daemon): Promise<number> =>
  pssMb(dirname(daemon.address), (commandLine) => commandLine.includes('docker-registry'));

await using registry = await startRegistry(['busybox']);
await using ours = await startGantry();
await using peer = await startPeer();
const image = registry.reference('busybox');
for (const daemon of [ours, peer]) await daemon.ctr('images', 'pull', '--plain-http', image);

const version = (await peer.ctr('version')).match(/Server:\s+Version:\s+(\S+)/)?.[1];
console.log(
  `| containers | gantry at rest | containerd ${version} at rest | ratio | gantry at once | containerd at once |`,
);
console.log('|---|---|---|---|---|---|');
let started = 0;
for (const count of counts) {
  for (; started < count; started += 1)
    for (const daemon of [ours, peer])
      await daemon.ctr('run', '-d', '--null-io', image, `${prefix}-${started}`, 'sleep', '100000');
  const atOnce = [await measure(ours), await measure(peer)] as const;
  const restedAtMs = Date.now() + restMs;
  await until('both have rested', () => Date.now() >= restedAtMs, { timeoutMs: 2 * restMs, everyMs: 1000 });
  const atRest = [await measure(ours), await measure(peer)] as const;
  const [mine, theirs, mineAtOnce, theirsAtOnce] = [...atRest, ...atOnce].map((mb) => `${mb.toFixed(1)} MB`);
  const ratio = (atRest[0] / atRest[1]).toFixed(2);
  console.log(`| ${count} | ${mine} | ${theirs} | **${ratio}** | ${mineAtOnce} | ${theirsAtOnce} |`);
}
