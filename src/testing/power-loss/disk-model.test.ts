import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DiskModel, type Survival } from './disk-model.ts';
import { readTrace } from './syscall-trace.ts';

const hex = (text: string): string =>
  `"${[...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}"`;

/** Names and contents of what survives the calls, as strace prints them. */
function survivors(lines: readonly string[], survival: Survival = () => false): Record<string, string> {
  const model = new DiskModel('/s');
  for (const call of readTrace(`${lines.join('\n')}\n`)) model.apply(call);
  const target = mkdtempSync(join(tmpdir(), 'gantry-model-'));
  try {
    model.writeSurvivors(target, survival);
    const files = readdirSync(target, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    return Object.fromEntries(
      files.map(({ parentPath, name }) => [
        join(parentPath, name).slice(target.length),
        readFileSync(join(parentPath, name), 'utf8'),
      ]),
    );
  } finally {
    rmSync(target, { recursive: true });
  }
}

const openDirectory = `1 openat(AT_FDCWD, ${hex('/s')}, O_RDONLY) = 9`;
const create = (name: string, fd: number): string =>
  `1 openat(AT_FDCWD, ${hex(`/s/${name}`)}, O_WRONLY|O_CREAT|O_TRUNC, 0644) = ${fd}`;
const write = (fd: number, text: string): string =>
  `1 write(${fd}, ${hex(text)}, ${text.length}) = ${text.length}`;

test('bytes need their own sync, and names that of their directory', () => {
  const steps = [openDirectory, create('a', 3), write(3, 'bytes')];
  assert.deepEqual(survivors(steps), {});
  assert.deepEqual(survivors([...steps, '1 fsync(3) = 0']), {});
  assert.deepEqual(survivors([...steps, '1 fsync(9) = 0']), { '/a': '' });
  assert.deepEqual(survivors([...steps, '1 fsync(3) = 0', '1 fsync(9) = 0']), { '/a': 'bytes' });
  assert.deepEqual(survivors([...steps, '1 syncfs(9) = 0']), { '/a': 'bytes' });
});

test('a rename that was not synced leaves the old name, and never both or none', () => {
  const steps = [openDirectory, create('a', 3), write(3, 'x'), '1 fsync(3) = 0', '1 fsync(9) = 0'];
  const renamed = [...steps, `1 rename(${hex('/s/a')}, ${hex('/s/b')}) = 0`];
  assert.deepEqual(survivors(renamed), { '/a': 'x' });
  assert.deepEqual(
    survivors(renamed, () => true),
    { '/b': 'x' },
  );
});

test('a sync saves what was there when it began', () => {
  const steps = [
    openDirectory,
    create('a', 3),
    '1 fsync(9) = 0',
    write(3, 'early'),
    '2 fsync(3 <unfinished ...>',
    write(3, ' late'),
    '2 <... fsync resumed>) = 0',
  ];
  assert.deepEqual(survivors(steps.slice(0, -1)), { '/a': '' });
  assert.deepEqual(survivors(steps), { '/a': 'early' });
  assert.deepEqual(
    survivors(steps, () => true),
    { '/a': 'early late' },
  );
});

test('a descriptor that is closed is nobody, and paths of a confined thread begin at its root', () => {
  const steps = [
    openDirectory,
    `1 mkdir(${hex('/s/layer')}, 0755) = 0`,
    `2 chroot(${hex('/s/layer')}) = 0`,
    `2 openat(AT_FDCWD, ${hex('/etc')}, O_WRONLY|O_CREAT, 0644) = 4`,
    write(4, 'in'),
    '1 close(4) = 0',
    write(4, 'to a socket'),
    '1 syncfs(9) = 0',
  ];
  assert.deepEqual(survivors(steps), { '/layer/etc': 'in' });
});

test('calls that the model does not know are refused, and not passed over', () => {
  assert.throws(() => survivors([`1 fallocate(3, 0, 0, 10) = 0`]), /does not know fallocate/);
  assert.throws(() => survivors([`1 write(3, ${hex('x')}..., 9999999) = 9999999`]), /left out bytes/);
});
