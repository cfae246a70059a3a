import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { until } from '../../testing/until.ts';
import { NetworkDirectory } from './network-directory.ts';

describe('a directory of network configurations', () => {
  let folder = '';
  let directory: NetworkDirectory;

  const put = (file: string, document: object, base = 'net.d'): void =>
    writeFileSync(join(folder, base, file), JSON.stringify(document));
  const one = (name: string, more: object = {}): object => ({ name, type: 'bridge', ...more });
  const names = async (from = directory): Promise<string[]> => (await from.plans()).map(({ name }) => name);
  const open = (maxConfNum: number): NetworkDirectory =>
    new NetworkDirectory({ confDir: join(folder, 'net.d'), maxConfNum });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-net-d-'));
    directory = open(0);
  });
  afterEach(() => {
    directory[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  test('is read by name, as much as is asked for', async () => {
    mkdirSync(join(folder, 'net.d'));
    put('20.json', one('c'));
    put('10.conf', one('a'));
    put('15.conflist', { name: 'b', plugins: [{ type: 'bridge' }] });
    put('05.txt', one('x'));
    assert.deepEqual(await names(), ['a', 'b', 'c']);
    using first = open(2);
    assert.deepEqual(await names(first), ['a', 'b']);
  });

  test('what happens in it counts: made, filled, changed in place, replaced, removed', async () => {
    assert.match((await directory.failure())?.message ?? '', /no network config found/);
    mkdirSync(join(folder, 'net.d'));
    put('10.conf', one('a'));
    assert.deepEqual(await names(), ['a']);
    put('20.conf', one('b'));
    assert.deepEqual(await names(), ['a', 'b']);
    put('20.conf', one('c'));
    await until('the change in place is seen', async () => (await names()).join() === 'a,c');

    mkdirSync(join(folder, 'other'));
    put('30.conf', one('d'), 'other');
    renameSync(join(folder, 'net.d'), join(folder, 'old'));
    renameSync(join(folder, 'other'), join(folder, 'net.d'));
    assert.deepEqual(await names(), ['d']);
    put('30.conf', one('e'));
    await until('the change in the new one is seen', async () => (await names()).join() === 'e');

    rmSync(join(folder, 'net.d'), { recursive: true });
    await assert.rejects(names(), /no network config found/);
  });

  const refused: readonly [string, object, RegExp][] = [
    ['a name that leads elsewhere', one('../x'), /network name "..\/x" must be/],
    ['no name', { type: 'bridge' }, /it has no name/],
    [
      'a plugin that leads elsewhere',
      one('a', { type: '../sh' }),
      /plugin type "..\/sh" must be the name of a file/,
    ],
    ['a version that is not ours', one('a', { cniVersion: '9.0.0' }), /cniVersion 9.0.0 is none of/],
    ['no plugin', { name: 'a' }, /plugins\[0\] has no type/],
    [
      'a flag that is none',
      { name: 'a', disableGC: 1, plugins: [{ type: 'b' }] },
      /disableGC must be true or false/,
    ],
  ];
  for (const [what, document, message] of refused)
    test(`${what} is told`, async () => {
      mkdirSync(join(folder, 'net.d'));
      put('plugins' in document ? '10.conflist' : '10.conf', document);
      await assert.rejects(names(), message);
    });

  test('the last version that both have', async () => {
    mkdirSync(join(folder, 'net.d'));
    put('10.conflist', {
      name: 'a',
      cniVersion: '0.4.0',
      cniVersions: ['0.4.0', '1.0.0', '7.0.0'],
      disableCheck: 'true',
      plugins: [{ type: 'bridge' }],
    });
    const [plan] = await directory.plans();
    assert.deepEqual([plan?.version, plan?.disableCheck, plan?.disableGc], ['1.0.0', true, false]);
  });
});
