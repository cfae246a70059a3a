/** Types, lint, format and generated code, as tests, so that one run says all. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { root } from './source-files.ts';

function passes(program: string, ...args: readonly string[]): void {
  const file = path.join(root, 'node_modules/.bin', program);
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    cwd: root,
    encoding: 'utf8',
    // The tools must run on the pinned Node, as this test does.
    env: { ...process.env, PATH: `${path.dirname(process.execPath)}:${process.env['PATH'] ?? ''}` },
  });
  assert.equal(error, undefined);
  assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`);
}

test('types: tsc has nothing to say', () => passes('tsc', '-p', '.'));

test('lint: oxlint has nothing to say', () => passes('oxlint', '--deny-warnings'));

test('format: biome would change nothing', () => passes('biome', 'check', '--error-on-warnings', '.'));

test('generated code is what buf makes of proto/', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'gantry-generate-'));
  try {
    passes('buf', 'generate', '--output', folder);
    const made = path.join(folder, 'src/wire/gen');
    const kept = path.join(root, 'src/wire/gen');
    const names = globSync('**/*.{js,ts}', { cwd: made }).toSorted();
    assert.notEqual(names.length, 0);
    assert.deepEqual(globSync('**/*.{js,ts}', { cwd: kept }).toSorted(), names, 'run npm run generate');
    for (const name of names)
      assert.equal(
        readFileSync(path.join(kept, name), 'utf8'),
        readFileSync(path.join(made, name), 'utf8'),
        `src/wire/gen/${name} is not current: run npm run generate`,
      );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
