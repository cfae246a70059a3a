/**
 * Archives of layers: read alike in pieces of any size, never more data out than in, within the size that was
 * announced, with names that a file system can have; and what was read is read again when it is written.
 */
import assert from 'node:assert/strict';
import { limits } from '../../../src/base/limits.ts';
import { instantOfNs } from '../../../src/base/time.ts';
import { emptyFile, type TarEntry } from '../../../src/core/diff/tar-entry.ts';
import { formatPaxRecord } from '../../../src/core/diff/tar-pax.ts';
import { TarReader } from '../../../src/core/diff/tar-reader.ts';
import { tarEnd, tarEntryHeader, tarPadding } from '../../../src/core/diff/tar-writer.ts';
import { type FuzzTarget, mustTake, piecesOf } from '../fuzz-target.ts';

interface Read {
  readonly entry: TarEntry;
  readonly parts: { readonly offset: number; readonly bytes: Buffer }[];
  ended: boolean;
}

function readAll(pieces: readonly Buffer[]): Read[] {
  const found: Read[] = [];
  const reader = new TarReader({
    entry(entry) {
      assert.ok(found.at(-1)?.ended !== false, 'an entry begins before the last has ended');
      found.push({ entry, parts: [], ended: false });
    },
    data(bytes, offset) {
      const { entry, parts } = found.at(-1) ?? assert.fail('data without an entry');
      assert.ok(offset >= 0 && offset + bytes.length <= entry.sizeBytes, 'data beyond the size of the file');
      const last = parts.at(-1);
      const end = last === undefined ? 0 : last.offset + last.bytes.length;
      assert.ok(offset >= end, 'data before what has come');
      if (last !== undefined && offset === end)
        parts[parts.length - 1] = { offset: last.offset, bytes: Buffer.concat([last.bytes, bytes]) };
      else parts.push({ offset, bytes: Buffer.from(bytes) });
    },
    end() {
      (found.at(-1) ?? assert.fail('an end without an entry')).ended = true;
    },
  });
  for (const piece of pieces) reader.push(piece);
  reader.end();
  assert.ok(found.every(({ ended }) => ended));
  return found;
}

function checkEntry({ kind, path, linkPath, mode, uid, gid, sizeBytes, xattrs }: TarEntry): void {
  for (const text of [path, linkPath, ...xattrs.keys()]) {
    assert.ok(!text.includes('\0'), `NUL in ${JSON.stringify(text)}`);
    assert.ok(Buffer.byteLength(text) <= limits.tarPathBytes, 'a name longer than PATH_MAX');
    assert.ok(text.isWellFormed(), 'a name that was not UTF-8');
  }
  assert.ok(mode >= 0 && mode <= 0o7777);
  for (const id of [uid, gid]) assert.ok(Number.isInteger(id) && id >= 0 && id < 0xffff_ffff);
  assert.ok(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && (kind === 'file' || sizeBytes === 0));
}

/** What the writer can write: it knows no holes, and PAX no attribute with "=" in its name. */
const isWritable = ({ entry, parts }: Read): boolean =>
  entry.segments === undefined &&
  parts.length <= 1 &&
  entry.deviceMajor >= 0 &&
  entry.deviceMinor >= 0 &&
  [...entry.xattrs.keys()].every((name) => name !== '' && !name.includes('='));

const bytesOf = ({ parts }: Read): Buffer => Buffer.concat(parts.map(({ bytes }) => bytes));

function write(entry: TarEntry, data: Buffer): Buffer {
  return Buffer.concat([tarEntryHeader(entry), data, tarPadding(data.length)]);
}

/** Puts right the checksum of every block that looks like a header, so that damage gets past it. */
function mend(bytes: Buffer): Buffer {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (bytes.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    bytes.fill(0x20, at + 148, at + 156);
    const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
  return bytes;
}

const file: TarEntry = { ...emptyFile('dir/file', 0o644), sizeBytes: 5 };
const rich: TarEntry = {
  ...file,
  path: `${'long/'.repeat(40)}é`,
  uid: 0o7777777 + 1,
  modifiedAt: instantOfNs(-1_500_000_000n),
  xattrs: new Map([['user.a', Buffer.from([0, 255, 61])]]),
};
const link: TarEntry = { ...emptyFile('link', 0o777), kind: 'symlink', linkPath: '../../etc' };
const device: TarEntry = { ...emptyFile('dev', 0o600), kind: 'block', deviceMajor: 8, deviceMinor: 1 };

function withPax(records: readonly (readonly [string, string])[], entry: TarEntry, data: string): Buffer {
  const body = Buffer.concat(records.map(([key, value]) => formatPaxRecord(key, value)));
  const header = tarEntryHeader({ ...emptyFile('PaxHeaders/x', 0o644), sizeBytes: body.length });
  header.write('x', 156, 'latin1');
  return mend(
    Buffer.concat([
      header,
      body,
      tarPadding(body.length),
      write({ ...entry, sizeBytes: data.length }, Buffer.from(data)),
      tarEnd(),
    ]),
  );
}

/** GNU's long names, in entries of their own before the one that they belong to. */
function withLongName(typeFlag: 'L' | 'K', name: string, entry: TarEntry): Buffer {
  const body = Buffer.from(`${name}\0`);
  const header = tarEntryHeader({ ...emptyFile('././@LongLink', 0o644), sizeBytes: body.length });
  header.write(typeFlag, 156, 'latin1');
  return mend(
    Buffer.concat([header, body, tarPadding(body.length), write(entry, Buffer.alloc(0)), tarEnd()]),
  );
}

function oldSparse(): Buffer {
  const header = tarEntryHeader({ ...emptyFile('sparse', 0o644), sizeBytes: 5 });
  header.write('S', 156, 'latin1');
  header.write('00000000012\x0000000000005\0', 386, 'latin1');
  header.write('00000001000\0', 483, 'latin1');
  return mend(Buffer.concat([header, Buffer.from('hello'), tarPadding(5), tarEnd()]));
}

const sparse1: readonly (readonly [string, string])[] = [
  ['GNU.sparse.major', '1'],
  ['GNU.sparse.minor', '0'],
  ['GNU.sparse.realsize', '4096'],
];

export const tar: FuzzTarget = {
  name: 'tar',
  seeds: [
    Buffer.concat([write(file, Buffer.from('hello')), write(link, Buffer.alloc(0)), tarEnd()]),
    Buffer.concat([write(rich, Buffer.from('world')), write(device, Buffer.alloc(0)), tarEnd()]),
    oldSparse(),
    withLongName('L', 'long/'.repeat(30), { ...link, kind: 'directory', linkPath: '' }),
    withLongName('K', '../'.repeat(50), link),
    withPax([...sparse1, ['GNU.sparse.name', 'real-name']], file, `1\n10\n5\n${'\0'.repeat(505)}hello`),
    withPax(
      [
        ['GNU.sparse.size', '100'],
        ['GNU.sparse.map', '0,2,50,3'],
      ],
      file,
      'hello',
    ),
    withPax([['LIBARCHIVE.xattr.user.b%3a', 'AAEC']], file, 'hello'),
  ],
  hostile: [
    withPax([...sparse1, ['GNU.sparse.name', 'a\0b']], file, `1\n10\n5\n${'\0'.repeat(505)}hello`),
    withPax([...sparse1, ['GNU.sparse.name', 'x/'.repeat(3000)]], file, `1\n10\n5\n${'\0'.repeat(505)}hello`),
    withPax([['SCHILY.xattr.user.\0', 'v']], file, 'hello'),
    withPax([['mtime', `${'9'.repeat(15)}.${'9'.repeat(2000)}`]], file, ''),
    withPax([['size', '9007199254740991']], file, 'hello'),
  ],
  words: [
    'GNU.sparse.',
    'GNU.sparse.map=',
    'SCHILY.xattr.',
    'LIBARCHIVE.xattr.',
    'size=',
    'path=',
    'mtime=-1.5',
    '77777777777',
    'ustar\0',
    'x',
    'g',
    'L',
    'K',
    'S',
  ],
  maxBytes: 8192,
  refusals: ['InvalidArgument'],
  mend,
  check(input) {
    const whole = readAll([input]);
    for (const { entry } of whole) checkEntry(entry);
    const total = whole.reduce((sum, read) => sum + bytesOf(read).length, 0);
    assert.ok(total <= input.length, 'more data out than in');
    const inPieces = mustTake('the archive in pieces', () => readAll(piecesOf(input)));
    assert.deepEqual(inPieces, whole);
    const writable = whole.filter(isWritable);
    const written = Buffer.concat([...writable.map((read) => write(read.entry, bytesOf(read))), tarEnd()]);
    assert.deepEqual(
      mustTake('what was written', () => readAll([written])),
      writable,
    );
  },
};
