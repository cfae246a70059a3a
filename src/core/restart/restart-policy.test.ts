/** Policies by their labels. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { parseRestartPolicy, restartLabels, wantsRestart } from './restart-policy.ts';

const labels = (policy: string, count = '', stopped = '') => ({
  [restartLabels.policy]: policy,
  [restartLabels.count]: count,
  [restartLabels.explicitlyStopped]: stopped,
});

test('a policy is read, and what is none is refused', () => {
  assert.deepEqual(parseRestartPolicy(''), { name: 'always', most: 0 });
  assert.deepEqual(parseRestartPolicy('on-failure:3'), { name: 'on-failure', most: 3 });
  for (const text of ['never', 'always:3', 'on-failure:', 'on-failure:-1', 'on-failure:x', 'no no'])
    assert.throws(
      () => parseRestartPolicy(text),
      (error) => hasCode(error, 'InvalidArgument'),
      text,
    );
});

const cases: readonly (readonly [Record<string, string>, number, boolean])[] = [
  [{}, 0, true],
  [labels('no'), 1, false],
  [labels('always'), 0, true],
  [labels('on-failure'), 0, false],
  [labels('on-failure'), 1, true],
  [labels('on-failure:2', '1'), 1, true],
  [labels('on-failure:2', '2'), 1, false],
  [labels('on-failure:2', 'many'), 1, true],
  [labels('unless-stopped'), 1, true],
  [labels('unless-stopped', '', 'true'), 1, false],
];
for (const [given, exitStatus, wanted] of cases)
  test(`${JSON.stringify(given)} after ${exitStatus}: ${wanted ? 'again' : 'not again'}`, () => {
    assert.equal(wantsRestart(given, exitStatus), wanted);
  });
