import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { selectPlatform } from '../platform/select.ts';
import { forgetHeld, HeldDirectory } from './held-directory.ts';

const root = mkdtempSync(join(tmpdir(), 'gantry-held-'));
after(() => rmSync(root, { recursive: true, force: true }));
const platform = await selectPlatform();
const first = { namespace: 'a', id: 'x', bundle: '/b/a/x' };
const second = { namespace: 'b.c', id: 'x', bundle: '/b/b.c/x' };

test('what is held is found by the next, and only that', async () => {
  const path = join(root, 'one');
  const owner = {};
  {
    using held = await HeldDirectory.open(platform, path);
    held.hold(first, owner);
    held.hold(second, owner);
    writeFileSync(join(path, 'a', 'stray'), '');
    mkdirSync(join(path, 'empty'));
  }
  using next = await HeldDirectory.open(platform, path);
  assert.deepEqual(
    next.list().sort((left, right) => left.namespace.localeCompare(right.namespace)),
    [first, second],
  );
  for (const one of next.list()) next.hold(one, owner);
  next.letGo(first, owner);
  assert.deepEqual(next.list(), [second]);
});

test('a late farewell leaves the successor alone', async () => {
  const held = await HeldDirectory.open(platform, join(root, 'two'));
  const [before, now] = [{}, {}];
  held.hold(first, before);
  held.hold({ ...first, bundle: '/elsewhere' }, now);
  held.letGo(first, before);
  assert.deepEqual(held.list(), [{ ...first, bundle: '/elsewhere' }]);
  held.letGo(first, now);
  assert.deepEqual(held.list(), []);
  held.hold(first, now);
  held[Symbol.dispose]();
  using next = await HeldDirectory.open(platform, join(root, 'two'));
  next.hold(first, {});
  held.letGo(first, now);
  assert.deepEqual(next.list(), [first]);
});

test('one shim at a time, and nothing stays of an empty one', async () => {
  const path = join(root, 'three');
  {
    using _held = await HeldDirectory.open(platform, path);
    await assert.rejects(HeldDirectory.open(platform, path), (error) => hasCode(error, 'FailedPrecondition'));
  }
  assert.equal(existsSync(path), false);
});

test('links of a shim that is gone are taken away one by one, and the directory with the last', async () => {
  const path = join(root, 'four');
  const held = await HeldDirectory.open(platform, path);
  for (const one of [first, second]) held.hold(one, {});
  forgetHeld(platform, path, first);
  assert.deepEqual(held.list(), [second]);
  forgetHeld(platform, path, second);
  assert.equal(existsSync(path), true, 'a shim still has it');
  held.hold(first, {});
  held[Symbol.dispose]();
  forgetHeld(platform, path, first);
  assert.equal(existsSync(path), false);
  forgetHeld(platform, path, first);
});
