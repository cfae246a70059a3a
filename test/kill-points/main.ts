/**
 * A long run, by hand: `npm run kill-points -- --points 1000 --seed 7`. Prints its seed first and what was broken last;
 * ends with 1 when anything was.
 */
import { parseArgs } from 'node:util';
import { killPoints } from './kill-points.ts';

const { values } = parseArgs({
  options: {
    points: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    users: { type: 'string', default: '5' },
    witnesses: { type: 'string', default: '5' },
  },
});
console.log(`seed ${values.seed}`);
const { counts, broken } = await killPoints({
  seed: Number(values.seed),
  points: Number(values.points),
  users: Number(values.users),
  witnesses: Number(values.witnesses),
  onKill: (line) => process.stderr.write(`\r${line}    `),
});
process.stderr.write('\n');
console.table(counts);
for (const sentence of broken) console.log(sentence);
console.log(`${broken.length} promises broken; repeat with --seed ${values.seed} --points ${values.points}`);
process.exitCode = broken.length === 0 ? 0 : 1;
