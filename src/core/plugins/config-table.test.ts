import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { parse } from 'smol-toml';
import { hasCode } from '../../base/errors.ts';
import { TomlConfigTable, type TomlRecord } from './config-table.ts';
import { formatDurationMs, parseDurationMs } from './duration.ts';

const table = (text: string): TomlConfigTable =>
  new TomlConfigTable(parse(text) as TomlRecord, { path: 'plugins.x', fileOf: () => '/etc/c.toml' });

describe('config table', () => {
  it('reads each type, or the fallback', () => {
    const settings = table(
      'name = "n"\non = true\ncount = 3\nshare = 0.5\nwait = "1m30s"\nlist = ["a"]\n[sub]\nx = 1\n[[many]]\ny = "1"\n[[many]]\ny = "2"',
    );
    assert.equal(settings.string('name', ''), 'n');
    assert.equal(settings.boolean('on', false), true);
    assert.equal(settings.integer('count', 0), 3);
    assert.equal(settings.number('share', 0), 0.5);
    assert.equal(settings.durationMs('wait', 0), 90_000);
    assert.deepEqual(settings.strings('list', []), ['a']);
    assert.equal(settings.table('sub').integer('x', 0), 1);
    assert.deepEqual(
      settings.tables('many').map((one) => one.string('y', '')),
      ['1', '2'],
    );
    assert.equal(settings.string('absent', 'fallback'), 'fallback');
    assert.deepEqual(settings.tables('none'), []);
    assert.equal(settings.table('nowhere').integer('x', 7), 7);
    assert.deepEqual(settings.unreadKeys(), []);
  });

  it('names file, key and reason of a wrong value', () => {
    const settings = table('a = 1\nb = "soon"\nc = [1]\nd = 1.5\ne = "x"\nwhen = 2026-11-24');
    const cases: readonly (readonly [() => unknown, RegExp])[] = [
      [() => settings.string('a', ''), /^\/etc\/c\.toml: plugins\.x\.a: must be a string, not 1$/],
      [() => settings.durationMs('b', 0), /plugins\.x\.b: must be a duration .*, not "soon"$/],
      [() => settings.strings('c', []), /plugins\.x\.c: must be a list of strings, not a list$/],
      [() => settings.integer('d', 0), /plugins\.x\.d: must be an integer, not 1\.5$/],
      [() => settings.boolean('e', false), /plugins\.x\.e: must be true or false, not "x"$/],
      [() => settings.table('a'), /plugins\.x\.a: must be a table, not 1$/],
      [() => settings.tables('a'), /plugins\.x\.a: must be a list of tables, not 1$/],
      [() => settings.table('when'), /plugins\.x\.when: must be a table, not a date$/],
    ];
    for (const [read, message] of cases)
      assert.throws(read, (error) => {
        assert.ok(hasCode(error, 'InvalidArgument') && error instanceof Error);
        assert.match(error.message, message);
        return true;
      });
  });

  it('names the keys that nobody read, also below tables', () => {
    const settings = table("known = 1\nodd = 2\n[sub]\nknown = 1\nodd = 2\n['a.b']\nx = 1");
    settings.integer('known', 0);
    settings.table('sub').integer('known', 0);
    assert.deepEqual(settings.unreadKeys(), ['odd', 'sub.odd', "'a.b'"]);
  });

  it('does not take keys of Object for settings', () => {
    assert.equal(table('').string('constructor', 'fallback'), 'fallback');
    assert.equal(table('').has('toString'), false);
  });

  it('tells what is in force', () => {
    const settings = table('a = 1\n[sub]\nb = "x"');
    settings.integer('a', 0);
    settings.durationMs('wait', 1500);
    settings.table('sub').string('b', '');
    assert.deepEqual(settings.effective(), { a: 1, wait: '1500ms', sub: { b: 'x' } });
  });
});

describe('durations', () => {
  it('reads what Go writes', () => {
    const cases: readonly (readonly [string, number | undefined])[] = [
      ['0', 0],
      ['0s', 0],
      ['100ms', 100],
      ['1h30m', 5_400_000],
      ['5m0s', 300_000],
      ['1.5s', 1500],
      ['.5s', 500],
      ['-2s', -2000],
      ['2us', 0.002],
      ['2µs', 0.002],
      ['', undefined],
      ['5', undefined],
      ['s', undefined],
      ['5 s', undefined],
      ['5d', undefined],
      ['1e3s', undefined],
      ['2562047h', 9_223_369_200_000],
      ['2562048h', undefined],
      [`${'9'.repeat(400)}h`, undefined],
    ];
    for (const [text, wanted] of cases) assert.equal(parseDurationMs(text), wanted, JSON.stringify(text));
  });

  it('comes back as it was written', () => {
    fc.assert(
      fc.property(fc.nat(10_000_000_000), (durationMs) => {
        assert.equal(parseDurationMs(formatDurationMs(durationMs)), durationMs);
      }),
    );
  });
});
