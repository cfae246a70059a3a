/** The contract of snapshotters as tests: run against every implementation. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { background, type Context } from '../../base/context.ts';
import type { ErrorCode } from '../../base/errors.ts';
import { hasCode } from '../../base/errors.ts';
import { parseSnapshotKey, type SnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import type { SnapshotInfo, Snapshotter } from './snapshotter.ts';

export interface SuiteSubject extends AsyncDisposable {
  readonly snapshotter: Snapshotter;
  readonly ctx?: Context;
}

const key = parseSnapshotKey;
const fails = (code: ErrorCode) => (error: unknown) => hasCode(error, code);

async function infos(
  snapshotter: Snapshotter,
  ctx: Context,
  filters: string[] = [],
): Promise<SnapshotInfo[]> {
  const list: SnapshotInfo[] = [];
  for await (const info of snapshotter.list(ctx, filters)) list.push(info);
  return list;
}

/** Runs the suite; `make` gives an empty snapshotter for each test. */
export function snapshotterSuite(name: string, make: () => Promise<SuiteSubject>): void {
  const test = (title: string, body: (snapshotter: Snapshotter, ctx: Context) => Promise<void>): void => {
    void it(title, async () => {
      await using subject = await make();
      await body(subject.snapshotter, subject.ctx ?? background(silentLogger));
    });
  };
  const chain = async (snapshotter: Snapshotter, ctx: Context, names: readonly string[]): Promise<void> => {
    let parent: SnapshotKey | undefined;
    for (const each of names) {
      const options = parent === undefined ? {} : { parent };
      await snapshotter.prepare(ctx, key(`extract ${each}`), options);
      await snapshotter.commit(ctx, key(each), key(`extract ${each}`), {});
      parent = key(each);
    }
  };

  void describe(`snapshotter contract: ${name}`, () => {
    test('prepares, commits and stacks', async (snapshotter, ctx) => {
      const mounts = await snapshotter.prepare(ctx, key('a'), {});
      assert.equal(mounts.length, 1);
      assert.deepEqual(await snapshotter.mounts(ctx, key('a')), mounts);
      const before = await snapshotter.stat(ctx, key('a'));
      assert.deepEqual([before.kind, before.parent], ['active', undefined]);
      await snapshotter.commit(ctx, key('base'), key('a'), {});
      assert.equal((await snapshotter.stat(ctx, key('base'))).kind, 'committed');
      await assert.rejects(snapshotter.stat(ctx, key('a')), fails('NotFound'));
      await snapshotter.prepare(ctx, key('b'), { parent: key('base') });
      assert.equal((await snapshotter.stat(ctx, key('b'))).parent, 'base');
      await snapshotter.view(ctx, key('v'), { parent: key('base') });
      assert.equal((await snapshotter.stat(ctx, key('v'))).kind, 'view');
    });

    test('refuses what the contract forbids, by its codes', async (snapshotter, ctx) => {
      await chain(snapshotter, ctx, ['base']);
      await snapshotter.prepare(ctx, key('active'), { parent: key('base') });
      await snapshotter.view(ctx, key('view'), { parent: key('base') });
      const prepare = (name_: string, parent: string): Promise<unknown> =>
        snapshotter.prepare(ctx, key(name_), { parent: key(parent) });
      await assert.rejects(prepare('active', 'base'), fails('AlreadyExists'));
      await assert.rejects(prepare('base', 'base'), fails('AlreadyExists'));
      await assert.rejects(prepare('x', 'missing'), fails('NotFound'));
      await assert.rejects(prepare('x', 'active'), fails('InvalidArgument'));
      await assert.rejects(
        snapshotter.view(ctx, key('x'), { parent: key('view') }),
        fails('InvalidArgument'),
      );
      await assert.rejects(snapshotter.mounts(ctx, key('base')), fails('FailedPrecondition'));
      await assert.rejects(snapshotter.mounts(ctx, key('missing')), fails('NotFound'));
      await assert.rejects(snapshotter.commit(ctx, key('n'), key('view'), {}), fails('FailedPrecondition'));
      await assert.rejects(snapshotter.commit(ctx, key('base'), key('active'), {}), fails('AlreadyExists'));
      await assert.rejects(snapshotter.commit(ctx, key('n'), key('missing'), {}), fails('NotFound'));
      await assert.rejects(snapshotter.remove(ctx, key('base')), fails('FailedPrecondition'));
      await assert.rejects(snapshotter.remove(ctx, key('missing')), fails('NotFound'));
      await assert.rejects(snapshotter.usage(ctx, key('missing')), fails('NotFound'));
      await assert.rejects(infos(snapshotter, ctx, ['kind==']), fails('InvalidArgument'));
      const left = await infos(snapshotter, ctx);
      assert.deepEqual(left.map((info) => info.key).sort(), ['active', 'base', 'view']);
    });

    test('removes from the top down and forgets the key', async (snapshotter, ctx) => {
      await chain(snapshotter, ctx, ['one', 'two']);
      await assert.rejects(snapshotter.remove(ctx, key('one')), fails('FailedPrecondition'));
      await snapshotter.remove(ctx, key('two'));
      await snapshotter.remove(ctx, key('one'));
      await snapshotter.cleanup(ctx);
      assert.deepEqual(await infos(snapshotter, ctx), []);
      await chain(snapshotter, ctx, ['one']);
    });

    test('updates labels and nothing else', async (snapshotter, ctx) => {
      const [first, second] = ['containerd.io/snapshot/a', 'containerd.io/snapshot/b'];
      await snapshotter.prepare(ctx, key('s'), { labels: { [first]: '1' } });
      const update = (labels: Record<string, string>, paths: string[]): Promise<SnapshotInfo> =>
        snapshotter.update(ctx, { key: key('s'), labels }, paths);
      assert.deepEqual((await update({ [second]: '2' }, [`labels.${second}`])).labels, {
        [first]: '1',
        [second]: '2',
      });
      assert.deepEqual((await update({ [first]: '' }, [`labels.${first}`])).labels, { [second]: '2' });
      assert.deepEqual((await update({ [first]: '3' }, ['labels'])).labels, { [first]: '3' });
      await assert.rejects(update({}, ['parent']), fails('InvalidArgument'));
      await assert.rejects(
        snapshotter.update(ctx, { key: key('missing'), labels: {} }, []),
        fails('NotFound'),
      );
    });

    test('keeps only the labels that are passed at commit', async (snapshotter, ctx) => {
      const label = 'containerd.io/snapshot/x';
      await snapshotter.prepare(ctx, key('s'), { labels: { [label]: 'old' } });
      await snapshotter.commit(ctx, key('c'), key('s'), {});
      assert.deepEqual((await snapshotter.stat(ctx, key('c'))).labels, {});
      await snapshotter.prepare(ctx, key('s'), { parent: key('c') });
      await snapshotter.commit(ctx, key('d'), key('s'), { labels: { [label]: 'new' } });
      assert.deepEqual((await snapshotter.stat(ctx, key('d'))).labels, { [label]: 'new' });
    });

    test('lists by filters', async (snapshotter, ctx) => {
      await chain(snapshotter, ctx, ['one', 'two']);
      await snapshotter.view(ctx, key('look'), { parent: key('two') });
      const names = async (filter: string): Promise<string[]> =>
        (await infos(snapshotter, ctx, [filter])).map((info) => info.key).sort();
      assert.deepEqual(await names('kind==committed'), ['one', 'two']);
      assert.deepEqual(await names('parent==one'), ['two']);
      assert.deepEqual(await names('name==look'), ['look']);
    });

    test('lets only one of two prepares have a key', async (snapshotter, ctx) => {
      const results = await Promise.allSettled([
        snapshotter.prepare(ctx, key('same'), {}),
        snapshotter.prepare(ctx, key('same'), {}),
      ]);
      assert.deepEqual(results.map((result) => result.status).sort(), ['fulfilled', 'rejected']);
    });

    test('measures its own layer', async (snapshotter, ctx) => {
      await chain(snapshotter, ctx, ['base']);
      const usage = await snapshotter.usage(ctx, key('base'));
      assert.ok(usage.inodes === 1 && usage.sizeBytes >= 0, JSON.stringify(usage));
      await snapshotter.view(ctx, key('v'), { parent: key('base') });
      assert.deepEqual(await snapshotter.usage(ctx, key('v')), { sizeBytes: 0, inodes: 0 });
    });
  });
}
