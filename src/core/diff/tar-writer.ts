/**
 * Writes a layer tar: ustar headers, PAX records where ustar cannot say it (long or non-ASCII names, large numbers,
 * fractions of seconds, xattrs as SCHILY.xattr). Deterministic: the same entries make the same bytes.
 */
import { limits } from '../../base/limits.ts';
import type { TarEntry, TarEntryKind } from './tar-entry.ts';
import { blockBytes, formatTarHeader, type TarHeader } from './tar-header.ts';
import { formatPaxRecord, formatPaxTime } from './tar-pax.ts';

const typeFlags: Readonly<Record<TarEntryKind, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

const maxOctal7 = 0o7777777;
const maxOctal11 = 0o77777777777;
const isPlain = (text: string): boolean => text.length <= 100 && /^[\x20-\x7e]*$/.test(text);

/** The header blocks of an entry; `entry.sizeBytes` of data and `tarPadding` of them follow. Holes are written out. */
export function tarEntryHeader(entry: TarEntry): Buffer {
  const seconds = Number(floorDivide(entry.modifiedAt, 1_000_000_000n));
  const records: Buffer[] = [];
  if (!isPlain(entry.path)) records.push(formatPaxRecord('path', entry.path));
  if (!isPlain(entry.linkPath)) records.push(formatPaxRecord('linkpath', entry.linkPath));
  if (entry.uid > maxOctal7) records.push(formatPaxRecord('uid', String(entry.uid)));
  if (entry.gid > maxOctal7) records.push(formatPaxRecord('gid', String(entry.gid)));
  if (entry.sizeBytes > maxOctal11) records.push(formatPaxRecord('size', String(entry.sizeBytes)));
  if (entry.modifiedAt % 1_000_000_000n !== 0n || seconds < 0 || seconds > maxOctal11)
    records.push(formatPaxRecord('mtime', formatPaxTime(entry.modifiedAt)));
  for (const name of [...entry.xattrs.keys()].sort())
    records.push(formatPaxRecord(`SCHILY.xattr.${name}`, entry.xattrs.get(name)!));
  const header: TarHeader = {
    typeFlag: typeFlags[entry.kind],
    path: entry.path,
    linkPath: entry.linkPath,
    mode: entry.mode,
    uid: entry.uid > maxOctal7 ? 0 : entry.uid,
    gid: entry.gid > maxOctal7 ? 0 : entry.gid,
    sizeBytes: entry.sizeBytes,
    modifiedSeconds: seconds < 0 || seconds > maxOctal11 ? 0 : seconds,
    deviceMajor: entry.deviceMajor,
    deviceMinor: entry.deviceMinor,
  };
  if (records.length === 0) return formatTarHeader(header);
  const body = Buffer.concat(records);
  const extension = formatTarHeader({
    ...header,
    typeFlag: 'x',
    path: `PaxHeaders.0/${lastComponent(entry.path)}`,
    linkPath: '',
    mode: 0o644,
    sizeBytes: body.length,
    modifiedSeconds: 0,
    deviceMajor: 0,
    deviceMinor: 0,
  });
  return Buffer.concat([extension, body, tarPadding(body.length), formatTarHeader(header)]);
}

const floorDivide = (value: bigint, by: bigint): bigint => (value % by < 0n ? value / by - 1n : value / by);

const lastComponent = (path: string): string =>
  path
    .replace(/\/+$/, '')
    .slice(-limits.tarPathBytes)
    .replace(/^.*\//s, '')
    .replaceAll(/[^\x21-\x7e]/g, '_');

/** Zeros up to the next whole block. */
export const tarPadding = (sizeBytes: number): Buffer =>
  Buffer.alloc((blockBytes - (sizeBytes % blockBytes)) % blockBytes);

/** Two zero blocks close an archive. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * blockBytes);
