/** PAX extended header records, `LENGTH KEY=VALUE\n` (POSIX.1-2024 pax, "pax Extended Header"). */
import { invalidArgument } from '../../base/errors.ts';
import { type Instant, instantOfNs } from '../../base/time.ts';
import { decodeText } from './tar-header.ts';

export interface PaxRecord {
  readonly key: string;
  readonly value: Buffer;
}

const malformed = (): Error => invalidArgument('tar: malformed PAX extended header');

/** In the order of the archive: GNU sparse 0.0 repeats keys. Errors: InvalidArgument. */
export function parsePaxRecords(bytes: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    if (space < 0 || space - at > 10) throw malformed();
    const digits = bytes.toString('latin1', at, space);
    if (!/^[0-9]+$/.test(digits)) throw malformed();
    const end = at + Number(digits);
    if (end <= space + 1 || end > bytes.length || bytes[end - 1] !== 0x0a) throw malformed();
    const equals = bytes.indexOf(0x3d, space + 1);
    if (equals < 0 || equals === space + 1 || equals >= end - 1) throw malformed();
    records.push({
      key: decodeText(bytes.subarray(space + 1, equals)),
      value: Buffer.from(bytes.subarray(equals + 1, end - 1)),
    });
    at = end;
  }
  return records;
}

export function formatPaxRecord(key: string, value: Uint8Array | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  // The length counts its own digits, so it can grow by one more.
  let lengthBytes = rest.length + String(rest.length).length;
  lengthBytes = rest.length + String(lengthBytes).length;
  return Buffer.concat([Buffer.from(String(lengthBytes)), rest]);
}

const timePattern = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/;

/** Seconds with a fraction, to the nanosecond. Errors: InvalidArgument. */
export function parsePaxTime(text: string): Instant {
  const match = timePattern.exec(text);
  if (match === null) throw invalidArgument(`tar: ${JSON.stringify(text)} in a PAX header is not a time`);
  const [, sign, seconds, fraction = ''] = match;
  const ns = BigInt(seconds!) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return instantOfNs(sign === '-' ? -ns : ns);
}

export function formatPaxTime(instant: Instant): string {
  const ns: bigint = instant;
  const magnitude = ns < 0n ? -ns : ns;
  const fraction = String(magnitude % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '');
  const seconds = `${instant < 0n ? '-' : ''}${magnitude / 1_000_000_000n}`;
  return fraction === '' ? seconds : `${seconds}.${fraction}`;
}

/** Errors: InvalidArgument for anything but a decimal number up to 2^53. */
export function parsePaxNumber(text: string): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw invalidArgument(`tar: ${JSON.stringify(text.slice(0, 40))} in a PAX header is not a number`);
  return value;
}
