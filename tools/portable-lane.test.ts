/** Storage and distribution run wherever Node runs: their tests pass on the portable platform, with FFI out of reach. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const root = path.join(import.meta.dirname, '..');

const patterns = [
  'src/base/**/*.test.ts',
  'src/oci/**/*.test.ts',
  'src/wire/http/**/*.test.ts',
  'src/core/{content,events,filters,gc,images,leases,metadata,namespaces,plugins,registry,transfer}/**/*.test.ts',
  'src/core/snapshots/native*.test.ts',
  'src/core/diff/{tar,decompress,layer-path}*.test.ts',
];

const { NODE_TEST_CONTEXT: _, ...outer } = process.env;
const env = { ...outer, GANTRY_PLATFORM: 'portable' };
const preload = ['--import', path.join(root, 'tools/forbid-ffi.mjs')];

test('the lane keeps FFI out', () => {
  const asked = spawnSync(process.execPath, [...preload, '-e', "import('koffi')"], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.notEqual(asked.status, 0);
  assert.match(asked.stderr, /asked for koffi on the portable platform/);
});

for (const [program, flag] of [
  ['gantryd', '--version'],
  ['gantry', '--version'],
  ['containerd-shim-gantry-v1', '-v'],
] as const)
  test(`the bundle of ${program} starts without FFI`, () => {
    // The launcher builds what is stale.
    assert.equal(spawnSync(path.join(root, 'bin', program), [flag], { env: outer }).status, 0);
    const bundle = path.join(root, 'dist', `${program}.js`);
    const asked = spawnSync(process.execPath, [...preload, bundle, flag], { env, encoding: 'utf8' });
    assert.equal(asked.status, 0, asked.stderr);
    assert.match(asked.stdout, /\d+\.\d+\.\d+/);
  });

test('storage and distribution pass on the portable platform', () => {
  const files = globSync(patterns, { cwd: root });
  const lane = spawnSync(
    process.execPath,
    [...preload, '--test', '--test-reporter=tap', '--test-concurrency=2', '--test-timeout=120000', ...files],
    { cwd: root, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  );
  assert.equal(lane.status, 0, `\n${failuresOf(lane.stdout)}${lane.stderr}`);
  const passed = Number(/^# pass (\d+)$/m.exec(lane.stdout)?.[1]);
  assert.ok(passed > 50, `only ${passed} tests ran`);
});

/** The reports of what failed, without what passed. */
function failuresOf(tap: string): string {
  const lines = tap.split('\n');
  return lines
    .flatMap((line, index) => (/^\s*not ok /.test(line) ? lines.slice(index, index + 14) : []))
    .join('\n');
}
