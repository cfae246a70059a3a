import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LinuxMemory, programRanges } from './memory.ts';

const mapping = (range: string, access: string, file: string, anonymousKb = 0): string =>
  `${range} ${access} 00000000 fe:00 12 ${file}\nSize: 4 kB\nAnonymous:             ${anonymousKb} kB\nVmFlags: rd\n`;

test('only pure copies of the program are let go, where the kernel put them', () => {
  const smaps = [
    mapping('00010000-00020000', 'r--p', '/other'),
    mapping('00400000-00500000', 'r--p', '/node'),
    mapping('00500000-00900000', 'r-xp', '/node'),
    // Relocations were written here; coming back from the file they would be lost.
    mapping('00900000-00a00000', 'r--p', '/node', 8),
    mapping('00a00000-00b00000', 'rw-p', '/node', 400),
    mapping('00b00000-00c00000', 'rw-p', '[heap]', 400),
    // A copy of builtins that V8 mapped, and may unmap.
    mapping('7f0000000000-7f0000200000', 'r-xp', '/node'),
  ].join('');
  assert.deepEqual(programRanges(smaps, '/node'), [
    { start: 0x400000n, lengthBytes: 0x100000 },
    { start: 0x500000n, lengthBytes: 0x400000 },
  ]);
  assert.deepEqual(programRanges(smaps, '/absent'), []);
});

test('this program goes on working with most of its text let go', () => {
  const residentKb = (): number =>
    Number(/^RssFile:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
  const before = residentKb();
  new LinuxMemory().release();
  const after = residentKb();
  assert.ok(after < before / 2, `${before} kB of files were resident, and ${after} kB still are`);
  assert.equal(JSON.parse('{"a":[1,2]}').a.length, 2);
});
