/**
 * One 512-byte tar header block, read and written: POSIX.1-1988 ustar, v7, GNU and star dialects
 * (POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
 *
 * Numbers that octal cannot hold are base-256 (GNU). Text is UTF-8; other bytes are refused, because a name that
 * cannot be written back unchanged would be lost in silence.
 */
import { invalidArgument } from '../../base/errors.ts';

export const blockBytes = 512;

/** A header block field by field, without any judgement. */
export interface TarHeader {
  readonly typeFlag: string;
  readonly path: string;
  readonly linkPath: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly modifiedSeconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Errors: InvalidArgument for bytes that are not UTF-8. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (error) {
    const shown = JSON.stringify(Buffer.from(bytes).toString('latin1').slice(0, 200));
    throw invalidArgument(`tar: name ${shown} is not UTF-8`, error);
  }
}

/** The text up to the first NUL. */
export function textField(block: Buffer, start: number, lengthBytes: number): string {
  const field = block.subarray(start, start + lengthBytes);
  const end = field.indexOf(0);
  return decodeText(end < 0 ? field : field.subarray(0, end));
}

function base256(field: Buffer): number {
  const negative = (field[0]! & 0x40) !== 0;
  let value = BigInt(negative ? field[0]! - 0x100 : field[0]! & 0x3f);
  for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
  return Number(value);
}

/** Errors: InvalidArgument for a field that is no number, or one past 2^53. */
export function numberField(block: Buffer, start: number, lengthBytes: number): number {
  const field = block.subarray(start, start + lengthBytes);
  let value: number;
  if ((field[0]! & 0x80) !== 0) value = base256(field);
  else {
    const end = field.indexOf(0);
    const digits = field.toString('latin1', 0, end < 0 ? lengthBytes : end).trim();
    if (!/^[0-7]*$/.test(digits))
      throw invalidArgument(`tar: ${JSON.stringify(digits)} in a header is not an octal number`);
    value = digits === '' ? 0 : Number.parseInt(digits, 8);
  }
  if (!Number.isSafeInteger(value)) throw invalidArgument('tar: a number in a header is out of range');
  return value;
}

/** Sums as the format wants it: the checksum field counts as spaces. Old tars summed signed bytes. */
function checksums(block: Buffer): { unsigned: number; signed: number } {
  let unsigned = 0;
  let high = 0;
  for (let index = 0; index < blockBytes; index += 1) {
    const byte = index >= 148 && index < 156 ? 0x20 : block[index]!;
    unsigned += byte;
    if (byte > 0x7f) high += 1;
  }
  return { unsigned, signed: unsigned - 256 * high };
}

export const isZeroBlock = (block: Buffer): boolean => block.every((byte) => byte === 0);

/** Errors: InvalidArgument (checksum, field that is no number, name that is not UTF-8). */
export function parseTarHeader(block: Buffer): TarHeader {
  const expected = numberField(block, 148, 8);
  const { unsigned, signed } = checksums(block);
  if (expected !== unsigned && expected !== signed)
    throw invalidArgument('tar: header checksum does not match: not a tar archive, or a damaged one');
  const magic = block.toString('latin1', 257, 265);
  const isPosix = magic.startsWith('ustar\0');
  const isStar = isPosix && block.toString('latin1', 508, 512) === 'tar\0';
  const prefix = isPosix ? textField(block, 345, isStar ? 131 : 155) : '';
  const name = textField(block, 0, 100);
  const hasDevices = isPosix || magic.startsWith('ustar ');
  return {
    typeFlag: String.fromCharCode(block[156]!),
    path: prefix === '' ? name : `${prefix}/${name}`,
    linkPath: textField(block, 157, 100),
    mode: numberField(block, 100, 8) & 0o7777,
    uid: numberField(block, 108, 8),
    gid: numberField(block, 116, 8),
    sizeBytes: numberField(block, 124, 12),
    modifiedSeconds: numberField(block, 136, 12),
    deviceMajor: hasDevices ? numberField(block, 329, 8) : 0,
    deviceMinor: hasDevices ? numberField(block, 337, 8) : 0,
  };
}

function putNumber(block: Buffer, start: number, lengthBytes: number, value: number): void {
  const digits = value.toString(8);
  if (value >= 0 && digits.length < lengthBytes) {
    block.write(`${digits.padStart(lengthBytes - 1, '0')}\0`, start, 'latin1');
    return;
  }
  let rest = BigInt(value);
  for (let index = start + lengthBytes - 1; index >= start; index -= 1) {
    block[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  block[start] = (block[start]! & 0x7f) | 0x80;
}

/**
 * A ustar block. Text that is too long is cut: the caller says it again in a PAX header. Numbers that octal cannot
 * hold are written in base 256, which every reader of PAX archives takes too.
 */
export function formatTarHeader(header: TarHeader): Buffer {
  const block = Buffer.alloc(blockBytes);
  Buffer.from(header.path).copy(block, 0, 0, 100);
  putNumber(block, 100, 8, header.mode);
  putNumber(block, 108, 8, header.uid);
  putNumber(block, 116, 8, header.gid);
  putNumber(block, 124, 12, header.sizeBytes);
  putNumber(block, 136, 12, header.modifiedSeconds);
  block.write(header.typeFlag, 156, 'latin1');
  Buffer.from(header.linkPath).copy(block, 157, 0, 100);
  block.write('ustar\x0000', 257, 'latin1');
  putNumber(block, 329, 8, header.deviceMajor);
  putNumber(block, 337, 8, header.deviceMinor);
  block.write(`${checksums(block).unsigned.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
