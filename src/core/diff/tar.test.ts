import assert from 'node:assert/strict';
import { it } from 'node:test';
import * as fc from 'fast-check';
import { ContainerdError } from '../../base/errors.ts';
import { instantOfNs } from '../../base/time.ts';
import { emptyFile, type TarEntry } from './tar-entry.ts';
import { formatPaxRecord } from './tar-pax.ts';
import { TarReader } from './tar-reader.ts';
import { tarEnd, tarEntryHeader, tarPadding } from './tar-writer.ts';

interface Read {
  readonly entry: TarEntry;
  readonly data: Buffer;
}

function readAll(bytes: Buffer, chunkBytes: number): Read[] {
  const found: { entry: TarEntry; parts: Buffer[] }[] = [];
  const reader = new TarReader({
    entry: (entry) => found.push({ entry, parts: [] }),
    data: (part) => found.at(-1)!.parts.push(Buffer.from(part)),
    end: () => {},
  });
  for (let at = 0; at < bytes.length; at += chunkBytes) reader.push(bytes.subarray(at, at + chunkBytes));
  reader.end();
  return found.map(({ entry, parts }) => ({ entry, data: Buffer.concat(parts) }));
}

const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 300 })
  .filter((text) => !text.includes('\0'));
const number = (max: number): fc.Arbitrary<number> =>
  fc.oneof(fc.integer({ min: 0, max: 4000 }), fc.integer({ min: 0, max }));
const written = fc
  .record({
    kind: fc.constantFrom('file', 'directory', 'symlink', 'hardlink', 'fifo', 'character', 'block'),
    path: name,
    linkPath: name,
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: number(0xffff_fffe),
    gid: number(0xffff_fffe),
    modifiedAt: fc.bigInt({ min: -(2n ** 62n), max: 2n ** 66n }).map(instantOfNs),
    deviceMajor: fc.integer({ min: 0, max: 0xfff }),
    deviceMinor: fc.integer({ min: 0, max: 0xf_ffff }),
    xattrs: fc
      .array(fc.tuple(fc.stringMatching(/^user\.[a-z=]{1,20}$/), fc.uint8Array({ maxLength: 50 })), {
        maxLength: 3,
      })
      .map(
        (pairs) =>
          new Map(
            pairs.filter(([key]) => !key.includes('=')).map(([key, value]) => [key, Buffer.from(value)]),
          ),
      ),
    data: fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
  })
  .map(({ data, ...fields }) => {
    const { kind } = fields;
    const bytes = kind === 'file' ? data : Buffer.alloc(0);
    const entry: TarEntry = { ...fields, kind, sizeBytes: bytes.length };
    return { entry, data: bytes };
  });

const archive = (entries: readonly Read[]): Buffer =>
  Buffer.concat([
    ...entries.flatMap(({ entry, data }) => [tarEntryHeader(entry), data, tarPadding(data.length)]),
    tarEnd(),
  ]);

void it('what is written is read again, in chunks of any size', () => {
  fc.assert(
    fc.property(
      fc.array(written, { maxLength: 5 }),
      fc.integer({ min: 1, max: 5000 }),
      (entries, chunkBytes) => {
        assert.deepEqual(readAll(archive(entries), chunkBytes), entries);
      },
    ),
    { numRuns: 200 },
  );
});

void it('a damaged archive is read or refused, never worse, and gives out no more than came in', () => {
  const mutation = fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0x30, 0x37, 0x53, 0x78, 0xff)));
  fc.assert(
    fc.property(
      fc.array(written, { minLength: 1, maxLength: 3 }),
      fc.array(mutation, { minLength: 1, maxLength: 20 }),
      (entries, mutations) => {
        const bytes = archive(entries);
        for (const [at, value] of mutations) bytes[at % bytes.length] = value;
        resumHeaders(bytes);
        try {
          const sum = readAll(bytes, 512).reduce((total, { data }) => total + data.length, 0);
          assert.ok(sum <= bytes.length);
        } catch (error) {
          assert.ok(error instanceof ContainerdError, String(error));
          assert.equal(error.code, 'InvalidArgument');
        }
      },
    ),
    { numRuns: 1000 },
  );
});

/** Puts right the checksum of every block that looks like a header, so that damage gets past it. */
function resumHeaders(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (bytes.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    bytes.fill(0x20, at + 148, at + 156);
    let sum = 0;
    for (const byte of bytes.subarray(at, at + 512)) sum += byte;
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
}

const header = (change: (block: Buffer) => void): Buffer => {
  const block = tarEntryHeader(emptyFile('f', 0o644));
  change(block);
  resumHeaders(block);
  return block;
};

void it('bounds what an archive may make it keep', () => {
  const huge = header((block) => {
    block.write('x', 156, 'latin1');
    block.write('77777777777\0', 124, 'latin1');
  });
  assert.throws(() => readAll(huge, 512), /extended header of 8589934591 bytes is too large/);
  const sparse = header((block) => {
    block.write('S', 156, 'latin1');
    block[482] = 1;
  });
  const extension = Buffer.alloc(512);
  for (let pair = 0; pair < 21; pair += 1)
    extension.write('00000000000\x0000000000000\0', pair * 24, 'latin1');
  extension[504] = 1;
  const endless = Buffer.concat([sparse, ...Array.from({ length: 6000 }, () => extension)]);
  assert.throws(() => readAll(endless, 65536), /sparse map has more than 100000 entries/);
});

void it('refuses names that no file system has, whichever header gives them', () => {
  const map = Buffer.alloc(512);
  map.write('1\n10\n5\n');
  const data = Buffer.concat([map, Buffer.from('hello'), tarPadding(5), tarEnd()]);
  const sparse: readonly (readonly [string, string])[] = [
    ['GNU.sparse.major', '1'],
    ['GNU.sparse.minor', '0'],
    ['GNU.sparse.realsize', '100'],
  ];
  const withRecord = (key: string, value: Uint8Array | string): Buffer => {
    const records = [
      ...sparse.map(([word, text]) => formatPaxRecord(word, text)),
      formatPaxRecord(key, value),
    ];
    const body = Buffer.concat(records);
    const extension = tarEntryHeader({ ...emptyFile('x', 0o644), sizeBytes: body.length });
    extension.write('x', 156, 'latin1');
    const file = tarEntryHeader({ ...emptyFile('f', 0o644), sizeBytes: map.length + 5 });
    const bytes = Buffer.concat([extension, body, tarPadding(body.length), file, data]);
    resumHeaders(bytes);
    return bytes;
  };
  assert.equal(readAll(withRecord('GNU.sparse.name', 'real'), 512)[0]?.entry.path, 'real');
  assert.throws(() => readAll(withRecord('GNU.sparse.name', 'a\0b'), 512), /NUL in path/);
  assert.throws(
    () => readAll(withRecord('GNU.sparse.name', 'x/'.repeat(3000)), 512),
    /longer than 4096 bytes/,
  );
  assert.throws(() => readAll(withRecord('GNU.sparse.name', Buffer.from([0xff])), 512), /not UTF-8/);
  assert.throws(() => readAll(withRecord('SCHILY.xattr.user.\0', 'v'), 512), /NUL in attribute name/);
});

void it('reads sizes past 8 GiB in base 256', () => {
  const block = header((bytes) => {
    bytes.fill(0, 124, 136);
    bytes[124] = 0x80;
    bytes.writeBigUInt64BE(20_000_000_000n, 128);
  });
  const sizes: number[] = [];
  const reader = new TarReader({
    entry: ({ sizeBytes }) => sizes.push(sizeBytes),
    data: () => {},
    end: () => {},
  });
  reader.push(block);
  assert.deepEqual(sizes, [20_000_000_000]);
  assert.throws(() => reader.end(), /ends in the middle/);
});

it('takes a last file without padding, but not one without its last byte', () => {
  const entry: TarEntry = {
    kind: 'file',
    path: 'file',
    linkPath: '',
    mode: 0o644,
    uid: 0,
    gid: 0,
    sizeBytes: 700,
    modifiedAt: instantOfNs(0n),
    deviceMajor: 0,
    deviceMinor: 0,
    xattrs: new Map(),
  };
  const data = Buffer.alloc(700, 'x');
  const bytes = Buffer.concat([tarEntryHeader(entry), data]);
  for (const paddingBytes of [0, 1, 323, 324]) {
    const [file] = readAll(Buffer.concat([bytes, Buffer.alloc(paddingBytes)]), 512);
    assert.deepEqual(file?.data, data);
  }
  assert.throws(() => readAll(bytes.subarray(0, -1), 512), /ends in the middle/);
});
