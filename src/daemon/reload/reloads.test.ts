/** What a reload changes, what it keeps, and what it names. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { LogFields, Logger } from '../../base/logger.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { Configuration } from '../config/daemon-config.ts';
import { changedPaths, Reloads } from './reloads.ts';

test('changed paths are those of values, added, taken away and changed', () => {
  assert.deepEqual(
    changedPaths(
      { a: 1, b: { 'x.y': [1], gone: true }, same: { deep: 'x' } },
      { a: 2, b: { 'x.y': [1, 2], new: '' }, same: { deep: 'x' } },
    ),
    ['a', "b.'x.y'", 'b.gone', 'b.new'],
  );
});

const plugin: Plugin = {
  type: 'io.containerd.differ.v1',
  id: 'some',
  requires: [],
  config: (table) => [table.string('live', ''), table.string('fixed', '')],
  init: () => undefined,
};

/** A daemon's settings in a file, and what was said of its reloads. */
function fixture(t: TestContext) {
  const folder = mkdtempSync(path.join(tmpdir(), 'gantry-reload-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'config.toml');
  const said: { readonly message: string; readonly fields: LogFields }[] = [];
  const note = (fields: LogFields, message: string): void => void said.push({ fields, message });
  const log: Logger = { trace: note, debug: note, info: note, warn: note, error: note, child: () => log };
  const write = (text: string): void => writeFileSync(file, `version = 4\n${text}`);
  const section = (text: string): string => `[plugins.'io.containerd.differ.v1.some']\n${text}\n`;
  write(section('live = "a"\nfixed = "a"'));
  const read = (): Configuration => new Configuration({ config: file });
  const reloads = new Reloads({ log, read });
  const applied: string[] = [];
  reloads.on([`plugins.'io.containerd.differ.v1.some'.live`], (next) =>
    applied.push(next.tableOf(plugin).string('live', '')),
  );
  const first = read();
  plugin.config(first.tableOf(plugin));
  reloads.started(first);
  const reload = (text: string): LogFields => {
    write(text);
    said.length = 0;
    reloads.reload([plugin]);
    return said.find(({ message }) => message === 'configuration reloaded')?.fields ?? {};
  };
  return { applied, said, section, reload };
}

test('what can change is applied once; what cannot is named until it is put back', (t) => {
  const { applied, section, reload } = fixture(t);
  const fixed = "plugins.'io.containerd.differ.v1.some'.fixed";
  const { needRestart } = reload(section('live = "b"\nfixed = "b"'));
  assert.deepEqual([applied, needRestart], [['b'], [fixed]]);
  assert.deepEqual(reload(section('live = "b"\nfixed = "b"'))['needRestart'], [fixed]);
  assert.deepEqual(reload(section('live = "b"\nfixed = "a"'))['needRestart'], []);
  assert.deepEqual(applied, ['b']);
  reload(section('fixed = "a"'));
  assert.deepEqual(applied, ['b', '']);
});

for (const [what, text] of [
  ['text that is no TOML', 'a = ['],
  ['a value of the wrong type', `[plugins.'io.containerd.differ.v1.some']\nlive = 3`],
  [
    'a setting of the daemon that is wrong',
    `root = "relative"\n[plugins.'io.containerd.differ.v1.some']\nlive = "b"`,
  ],
] as const)
  test(`nothing changes for ${what}`, (t) => {
    const { applied, said, reload } = fixture(t);
    reload(text);
    assert.deepEqual(applied, []);
    assert.match(
      said.map(({ message }) => message).join(),
      /configuration not reloaded, all settings stay: .+/,
    );
  });

test('before the start is over a reload does nothing', () => {
  const never = (): never => assert.fail('nothing is to be read');
  const log: Logger = { trace: never, debug: never, info: never, warn: never, error: never, child: never };
  new Reloads({ log, read: never }).reload([]);
});
