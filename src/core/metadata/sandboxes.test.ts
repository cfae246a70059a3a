import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSandboxId } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { type NewSandbox } from '../sandboxes/sandbox-store.ts';
import { spec } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

describe('sandboxes', () => {
  const sandbox: NewSandbox = {
    id: parseSandboxId('s'),
    runtime: { name: 'r', options: undefined },
    spec: undefined,
    labels: { a: '1' },
    extensions: { x: spec },
    sandboxer: 'shim',
  };

  test('are kept, changed, listed and deleted without events', async () => {
    await using fixture = await StoreFixture.make();
    const { sandboxes } = fixture.store;
    await sandboxes.create(fixture.ctx, sandbox);
    await rejectsWith(sandboxes.create(fixture.ctx, sandbox), 'AlreadyExists');
    const given = { ...sandbox, labels: { b: '2' }, extensions: {}, runtime: { name: 'r2', options: spec } };
    const updated = await sandboxes.update(fixture.ctx, given, ['labels.b', 'runtime']);
    assert.deepEqual([updated.labels, updated.runtime.name], [{ a: '1', b: '2' }, 'r2']);
    assert.deepEqual(Object.keys((await sandboxes.update(fixture.ctx, given, [])).extensions), []);
    await rejectsWith(sandboxes.update(fixture.ctx, given, ['sandboxer']), 'InvalidArgument');
    assert.equal((await sandboxes.list(fixture.ctx, ['labels.b==2'])).length, 1);
    await sandboxes.delete(fixture.ctx, sandbox.id);
    await rejectsWith(sandboxes.get(fixture.ctx, sandbox.id), 'NotFound');
    assert.deepEqual(fixture.events.published, []);
  });
});
