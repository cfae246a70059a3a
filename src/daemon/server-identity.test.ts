import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { serverIdentity } from './server-identity.ts';

test('the uuid is made once for a root, and kept', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-identity-'));
  t.after(() => rmSync(root, { recursive: true }));
  const path = join(root, 'plugin/uuid');
  const first = serverIdentity(path)();
  assert.match(first.uuid, /^[0-9a-f-]{36}$/);
  assert.equal(readFileSync(path, 'utf8'), first.uuid);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(serverIdentity(path)(), first);
  assert.equal(first.pid, process.pid);
  assert.ok(first.pidNamespace > 0n);
  writeFileSync(path, '');
  assert.notEqual(serverIdentity(path)().uuid, '');
});
