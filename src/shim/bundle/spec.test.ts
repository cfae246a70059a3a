import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { readAndClampSpec, readSpec } from './spec.ts';

function bundleWith(t: TestContext, config: string): string {
  const bundle = mkdtempSync(join(tmpdir(), 'gantry-spec-'));
  t.after(() => rmSync(bundle, { recursive: true }));
  writeFileSync(join(bundle, 'config.json'), config);
  return bundle;
}

void test('a pid namespace is its own only without a path', (t) => {
  const rows: [string, boolean][] = [
    ['[{"type":"pid"},{"type":"mount"}]', true],
    ['[{"type":"pid","path":""}]', true],
    ['[{"type":"pid","path":"/proc/1/ns/pid"}]', false],
    ['[{"type":"mount"}]', false],
    ['null', false],
  ];
  for (const [namespaces, own] of rows) {
    const bundle = bundleWith(t, `{"linux":{"namespaces":${namespaces}}}`);
    assert.equal(readSpec(bundle).ownPidNamespace, own, namespaces);
  }
});

void test('a spec that fits is left as it is, byte by byte', (t) => {
  const config = '{ "process": {"rlimits": [] , "oomScoreAdj": 5}}';
  const bundle = bundleWith(t, config);
  const { notes } = readAndClampSpec(bundle, { hardLimits: new Map(), oomScoreAdjust: (wanted) => wanted });
  assert.deepEqual(notes, []);
  assert.equal(readFileSync(join(bundle, 'config.json'), 'utf8'), config);
});

void test('a spec that asks too much is rewritten', (t) => {
  const bundle = bundleWith(t, '{"process":{"oomScoreAdj":-999},"x":18446744073709551615}');
  const { notes } = readAndClampSpec(bundle, { hardLimits: new Map(), oomScoreAdjust: () => 1 });
  assert.deepEqual(notes, ['oomScoreAdj -999 -> 1']);
  assert.equal(
    readFileSync(join(bundle, 'config.json'), 'utf8'),
    '{"process":{"oomScoreAdj":1},"x":18446744073709551615}',
  );
});

void test('no spec, or none that can be read, is the caller’s error', (t) => {
  const bundle = bundleWith(t, '{"process":');
  for (const path of [bundle, join(bundle, 'absent')])
    assert.throws(
      () => readSpec(path),
      (error) => hasCode(error, 'InvalidArgument'),
    );
});
