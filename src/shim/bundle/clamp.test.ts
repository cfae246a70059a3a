import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clampProcess, mayRaiseLimits, parseHardLimits } from './clamp.ts';
import { parseExact } from './json-numbers.ts';

const procLimits = `Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            1024                 20000                files
Max processes             95910                95910                processes
Max nice priority         0                    0
`;

void test('hard limits of /proc/PID/limits', () => {
  assert.deepEqual(
    [...parseHardLimits(procLimits)],
    [
      ['RLIMIT_NOFILE', 20000n],
      ['RLIMIT_NPROC', 95910n],
      ['RLIMIT_NICE', 0n],
    ],
  );
});

void test('CAP_SYS_RESOURCE in a mask', () => {
  assert.equal(mayRaiseLimits('Name:\tx\nCapEff:\t000001fffeffffff\n'), false);
  assert.equal(mayRaiseLimits('Name:\tx\nCapEff:\t000001ffffffffff\n'), true);
});

void test('what cannot be had is lowered, the rest stays as it is, to the last digit', () => {
  const process = parseExact(`{"oomScoreAdj":-500,"rlimits":[
    {"type":"RLIMIT_NOFILE","hard":18446744073709551615,"soft":18446744073709551615},
    {"type":"RLIMIT_NPROC","hard":100,"soft":50},
    {"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":0}]}`) as object;
  const notes = clampProcess(process, {
    hardLimits: parseHardLimits(procLimits),
    oomScoreAdjust: (wanted) => Math.max(wanted, 0),
  });
  assert.deepEqual(notes, ['oomScoreAdj -500 -> 0', 'RLIMIT_NOFILE unlimited -> 20000']);
  assert.equal(
    JSON.stringify(process),
    '{"oomScoreAdj":0,"rlimits":[{"type":"RLIMIT_NOFILE","hard":20000,"soft":20000},' +
      '{"type":"RLIMIT_NPROC","hard":100,"soft":50},' +
      '{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":0}]}',
  );
});

void test('nothing is touched where everything may be set', () => {
  const process = { oomScoreAdj: -999, rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1_000_000, soft: 1 }] };
  const before = JSON.stringify(process);
  assert.deepEqual(clampProcess(process, { hardLimits: new Map(), oomScoreAdjust: (wanted) => wanted }), []);
  assert.equal(JSON.stringify(process), before);
});
