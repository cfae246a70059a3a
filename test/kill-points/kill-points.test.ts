/** A short run of the kill points; the long one is `npm run kill-points`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { killPoints } from './kill-points.ts';

const seed = Number(process.env['GANTRY_SEED'] ?? 1);

test(`daemon and shim killed at 20 moments lose nothing (seed ${seed})`, async (t) => {
  const { counts, broken } = await killPoints({ seed, points: 20, users: 3, witnesses: 3 });
  t.diagnostic(JSON.stringify(counts));
  assert.deepEqual(broken, []);
  assert.ok((counts['stories'] ?? 0) > 3, 'the users did nothing');
});
