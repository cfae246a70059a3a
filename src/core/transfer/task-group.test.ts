/** Work side by side that fails as one and leaves nothing running. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deferred } from '../../base/deferred.ts';
import { TaskGroup } from './task-group.ts';

const { signal } = new AbortController();

void describe('TaskGroup', () => {
  void it('waits for all, also for those that tasks start', async () => {
    const group = new TaskGroup(signal);
    const order: string[] = [];
    const gate = deferred();
    void group.run(async () => {
      await gate.promise;
      void group.run(async () => void order.push('inner'));
      order.push('outer');
    });
    gate.resolve();
    await group.done();
    assert.deepEqual(order.toSorted(), ['inner', 'outer']);
  });
  void it('the first failure stops the others and is the one that is told', async () => {
    const group = new TaskGroup(signal);
    const ended: string[] = [];
    void group
      .run(async () => {
        await new Promise((resolve) => group.signal.addEventListener('abort', resolve));
        ended.push('stopped');
        throw new Error('second');
      })
      .catch(() => {});
    void group.run(() => Promise.reject(new Error('first'))).catch(() => {});
    await assert.rejects(group.done(), /first/);
    assert.deepEqual(ended, ['stopped']);
  });
  void it('a result that nobody awaits is no unhandled rejection', async () => {
    const group = new TaskGroup(signal);
    void group.run(() => Promise.reject(new Error('x')));
    await assert.rejects(group.done(), /x/);
  });
  void it("fires with the caller's signal", () => {
    const aborter = new AbortController();
    const group = new TaskGroup(aborter.signal);
    aborter.abort();
    assert.equal(group.signal.aborted, true);
  });
});
