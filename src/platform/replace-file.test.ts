import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { replaceFile } from './replace-file.ts';

test('a file is replaced whole, and nothing is left beside it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-replace-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'file');
  for (const durable of [false, true]) {
    writeFileSync(`${path}.new`, 'left by a crash, and longer than what comes');
    replaceFile(path, `durable: ${durable}`, { mode: 0o600, durable });
    assert.equal(readFileSync(path, 'utf8'), `durable: ${durable}`);
    assert.deepEqual(readdirSync(directory), ['file']);
  }
  replaceFile(join(directory, 'made'), Buffer.from('x'), { mode: 0o600 });
  assert.equal(statSync(join(directory, 'made')).mode & 0o777, 0o600);
  assert.throws(
    () => replaceFile(join(directory, 'absent/file'), 'x', { mode: 0o600 }),
    (error) => hasCode(error, 'NotFound'),
  );
});
