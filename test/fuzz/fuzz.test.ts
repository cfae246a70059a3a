/** Every target for a moment, with a new seed each time; `npm run fuzz` is the long run. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findingText, fuzz } from './fuzz-run.ts';
import { runInput } from './fuzz-target.ts';
import { targets } from './targets.ts';

const runs = 300;
/** Inputs that inflate or match take longer: the whole file shall take seconds. */
const timeLimitMs = 250;
const seed = Date.now() % 1_000_000;

void describe('parsers of outside bytes', () => {
  for (const target of targets) {
    void it(`${target.name}: takes its seeds`, async () => {
      for (const input of target.seeds) assert.equal(await runInput(target, Buffer.from(input)), 'taken');
    });

    void it(`${target.name}: what mutation makes of them is taken whole or refused`, async () => {
      const { finding } = await fuzz(target, { seed, runs, timeLimitMs });
      if (finding !== undefined) assert.fail(findingText(target, finding));
    });
  }

  void it('no two targets have the same name', () => {
    assert.equal(new Set(targets.map(({ name }) => name)).size, targets.length);
  });
});
