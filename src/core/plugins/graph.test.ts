import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import * as fc from 'fast-check';
import { background } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import { defaultsTable, noConfig } from './config-table.ts';
import { orderByRequires, PluginGraph, type PluginGraphOptions } from './graph.ts';
import { type Plugin, type PluginToken, type PluginType, SkipPlugin } from './plugin.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'gantry-graph-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const options = (changes: Partial<PluginGraphOptions> = {}): PluginGraphOptions => ({
  ctx: background(silentLogger),
  rootDir: path.join(folder, 'root'),
  stateDir: path.join(folder, 'state'),
  configOf: ({ id }) => defaultsTable(id),
  requiredPlugins: [],
  disabledPlugins: [],
  ...changes,
});

const typeOf = (name: string): PluginType => `io.containerd.${name}.v1`;

function plugin(name: string, requires: readonly string[] = [], init: Plugin['init'] = () => name): Plugin {
  return {
    type: typeOf(name),
    id: 'one',
    requires: requires.map((other) => typeOf(other)),
    config: noConfig,
    init,
  };
}

const token = (name: string): PluginToken<string> => ({ type: typeOf(name), id: 'one' });
const statuses = (graph: PluginGraph): string[] =>
  graph.records.map(({ type, status }) => `${type} ${status}`);

describe('order', () => {
  it('puts what is required first, and keeps the list where it is free', () => {
    const ordered = orderByRequires([plugin('a', ['c']), plugin('b'), plugin('c', ['b'])]);
    assert.deepEqual(
      ordered.map(({ type }) => type),
      [typeOf('b'), typeOf('c'), typeOf('a')],
    );
  });

  it('refuses circles and doubles', () => {
    assert.throws(
      () => orderByRequires([plugin('a', ['b']), plugin('b', ['a'])]),
      /require each other.*a.*b.*a/,
    );
    assert.throws(() => orderByRequires([plugin('a'), plugin('a')]), /listed twice/);
  });

  it('holds for any graph without circles', () => {
    const edges = fc.array(fc.tuple(fc.nat(9), fc.nat(9)), { maxLength: 30 });
    fc.assert(
      fc.property(
        edges,
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], { minLength: 10 }),
        (pairs, order) => {
          const requires = (n: number): string[] =>
            pairs.filter(([from, to]) => from === n && to < n).map(([, to]) => `p${to}`);
          const ordered = orderByRequires(order.map((n) => plugin(`p${n}`, requires(n))));
          assert.equal(ordered.length, 10);
          const place = new Map(ordered.map(({ type }, index) => [type, index]));
          for (const one of ordered)
            for (const type of one.requires) assert.ok((place.get(type) ?? 0) < (place.get(one.type) ?? 0));
        },
      ),
    );
  });
});

describe('start', () => {
  it('isolates failures: what depends on them fails too, the rest works', async () => {
    await using graph = new PluginGraph(options());
    await graph.start([
      plugin('broken', [], () => {
        throw new Error('no disk');
      }),
      plugin('above', ['broken'], ({ get }) => get(token('broken'))),
      plugin('skipped', [], () => {
        throw new SkipPlugin('no kernel module');
      }),
      plugin('fine'),
    ]);
    assert.deepEqual(statuses(graph), [
      `${typeOf('broken')} error`,
      `${typeOf('above')} error`,
      `${typeOf('skipped')} skip`,
      `${typeOf('fine')} ok`,
    ]);
    assert.match(graph.records[1]?.error?.message ?? '', /did not start: no disk/);
    assert.match(graph.records[2]?.error?.message ?? '', /skip plugin$/);
    assert.equal(graph.get(token('fine')), 'fine');
    assert.throws(
      () => graph.get(token('broken')),
      (error) => hasCode(error, 'NotFound'),
    );
    assert.deepEqual([...graph.all({ type: typeOf('broken') })], []);
  });

  it('keeps what a plugin says of itself', async () => {
    await using graph = new PluginGraph(options());
    await graph.start([
      plugin('content', [], ({ meta, rootDir }) => {
        meta.exports['root'] = rootDir();
        meta.capabilities.push('rebase');
      }),
    ]);
    assert.deepEqual(graph.records[0]?.exports, {
      root: path.join(folder, 'root', `${typeOf('content')}.one`),
    });
    assert.deepEqual(graph.records[0]?.capabilities, ['rebase']);
  });

  it('leaves out disabled plugins', async () => {
    await using graph = new PluginGraph(options({ disabledPlugins: [`${typeOf('a')}.one`] }));
    await graph.start([plugin('a'), plugin('b')]);
    assert.deepEqual(statuses(graph), [`${typeOf('b')} ok`]);
  });

  it('fails when a required plugin fails or is not there, and stops what it had started', async () => {
    const stopped: string[] = [];
    const first = plugin('first', [], ({ onStop }) =>
      onStop({ [Symbol.dispose]: () => stopped.push('first') }),
    );
    const broken = plugin('broken', ['first'], () => {
      throw new Error('no disk');
    });
    const failing = new PluginGraph(options({ requiredPlugins: [`${typeOf('broken')}.one`] }));
    await assert.rejects(failing.start([first, broken]), /required plugin .*broken.* did not start: no disk/);
    const missing = new PluginGraph(options({ requiredPlugins: ['io.containerd.x.v1.y'] }));
    await assert.rejects(missing.start([first]), /io\.containerd\.x\.v1\.y does not exist/);
    assert.deepEqual(stopped, ['first', 'first']);
  });

  it('reads all settings before it starts anything', async () => {
    let started = false;
    const early = plugin('early', [], () => {
      started = true;
    });
    const late: Plugin = {
      ...plugin('late'),
      config: (table) => {
        throw table.wrong('size', 'must be more than 0');
      },
    };
    await assert.rejects(new PluginGraph(options()).start([early, late]), /one\.size: must be more than 0/);
    assert.equal(started, false);
  });

  it('releases at once what a failing plugin held, and the rest in reverse order', async () => {
    const released: string[] = [];
    const holding = (name: string, fails = false): Plugin =>
      plugin(name, [], ({ onStop }) => {
        onStop({ [Symbol.dispose]: () => released.push(name) });
        if (fails) throw new Error('too late');
      });
    {
      await using graph = new PluginGraph(options());
      await graph.start([holding('a'), holding('b', true), holding('c')]);
      assert.deepEqual(released, ['b']);
    }
    assert.deepEqual(released, ['b', 'c', 'a']);
  });
});
