import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseMountInfo, unescapeField } from './mountinfo.ts';

test('a line is taken apart, with and without optional fields', () => {
  const text = [
    '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue',
    '37 36 0:5 / /proc rw - proc proc rw',
    'not a mount',
    '',
  ].join('\n');
  const [first, second, ...rest] = parseMountInfo(text);
  assert.deepEqual(first, {
    id: 36,
    parentId: 35,
    root: '/mnt1',
    mountPoint: '/mnt 2',
    options: ['rw', 'noatime'],
    fileSystemType: 'ext3',
    source: '/dev/root',
    superOptions: ['rw', 'errors=continue'],
  });
  assert.equal(second?.mountPoint, '/proc');
  assert.deepEqual(rest, []);
});

/** As the kernel writes them (mangle_path): blanks, tabs, newlines, backslashes and hashes. */
const escapeField = (field: string): string =>
  field.replace(/[ \t\n\\#]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);

const field = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0'));

test('any path survives the escapes of the kernel', () => {
  fc.assert(fc.property(field, (text) => assert.equal(unescapeField(escapeField(text)), text)));
  fc.assert(
    fc.property(field, field, field, (root, mountPoint, source) => {
      const line = `1 0 8:1 ${escapeField(root)} ${escapeField(mountPoint)} rw - ext4 ${escapeField(source)} rw\n`;
      const [mount] = parseMountInfo(line + line);
      assert.deepEqual([mount?.root, mount?.mountPoint, mount?.source], [root, mountPoint, source]);
    }),
  );
});

test('no text makes the parser throw', () => {
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseMountInfo(text))));
});
