/**
 * Reads a tar archive that is pushed in chunks of any size, and calls a sink: one `entry`, its `data`, one `end`.
 *
 * A synchronous state machine: nothing is awaited, so a confined worker can drive it. Memory is bounded by
 * limits.tarHeaderBytes and limits.tarSparseSegments whatever the archive says. Dialects: v7, ustar, PAX, GNU
 * (long names, sparse files), star. As containerd (and so every scanner built on Go's archive/tar) does, global
 * PAX headers are checked but change nothing; what follows the two closing zero blocks is ignored.
 */
import { ContainerdError, invalidArgument, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { type Instant, instantOfNs } from '../../base/time.ts';
import type { TarEntry, TarEntryKind, TarSegment } from './tar-entry.ts';
import { blockBytes, decodeText, isZeroBlock, parseTarHeader, type TarHeader } from './tar-header.ts';
import { type PaxRecord, parsePaxNumber, parsePaxRecords, parsePaxTime } from './tar-pax.ts';
import {
  checkSegments,
  type PaxSparse,
  paxSparse,
  readOldGnuExtension,
  readOldGnuHeader,
  SparseMapReader,
} from './tar-sparse.ts';

/** Takes what the reader finds; what it throws stops the reading. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** Bytes at `offset` of the file; valid only during the call. */
  data(bytes: Uint8Array, offset: number): void;
  /** The entry is complete. */
  end(): void;
}

/** What is being read next. Each state names the bytes it waits for. */
type State =
  | { readonly at: 'header' }
  | { readonly at: 'closing' }
  | { readonly at: 'extension'; readonly header: TarHeader; readonly parts: Buffer[]; leftBytes: number }
  | {
      readonly at: 'old-sparse';
      readonly header: TarHeader;
      readonly segments: TarSegment[];
      readonly sizeBytes: number;
    }
  | {
      readonly at: 'sparse-map';
      readonly header: TarHeader;
      readonly map: SparseMapReader;
      readonly sizeBytes: number;
      readonly name: string | undefined;
    }
  | {
      readonly at: 'data';
      segment: number;
      segmentDone: number;
      readonly segments: readonly TarSegment[];
      leftBytes: number;
      readonly paddingBytes: number;
    }
  | { readonly at: 'padding'; leftBytes: number; readonly closesEntry: boolean }
  | { readonly at: 'done' };

const kinds: Readonly<Record<string, TarEntryKind>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  S: 'file',
};
const extensionFlags = 'xgXLK';
const paddingOf = (sizeBytes: number): number => (blockBytes - (sizeBytes % blockBytes)) % blockBytes;

export class TarReader {
  readonly #sink: TarSink;
  readonly #block = Buffer.alloc(blockBytes);
  #blockFilled = 0;
  #state: State = { at: 'header' };
  #records: PaxRecord[] = [];
  #longPath: string | undefined;
  #longLink: string | undefined;
  #entries = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Errors: InvalidArgument for a malformed archive, and what the sink throws. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < bytes.length) {
      const state = this.#state;
      if (state.at === 'done') return;
      if (state.at === 'data') at += this.#pushData(state, bytes.subarray(at));
      else if (state.at === 'padding') at += this.#pushPadding(state, bytes.length - at);
      else if (state.at === 'extension') at += this.#pushExtension(state, bytes.subarray(at));
      else at += this.#pushBlock(bytes, at);
    }
  }

  /**
   * The stream is over. Errors: InvalidArgument when it ends inside an entry. Padding may be missing after the last
   * file, as it is in layers of umoci: nothing of the file is, and Go's reader takes it too.
   */
  end(): void {
    if (this.#state.at === 'padding' && this.#state.closesEntry) this.#enterPadding(0, true);
    const { at } = this.#state;
    const complete = at === 'done' || at === 'closing' || (at === 'header' && this.#blockFilled === 0);
    const pending = this.#records.length > 0 || this.#longPath !== undefined || this.#longLink !== undefined;
    if (!complete || pending)
      throw invalidArgument(`tar: archive ends in the middle of an entry (after ${this.#entries} entries)`);
  }

  #pushBlock(bytes: Buffer, at: number): number {
    const taken = Math.min(blockBytes - this.#blockFilled, bytes.length - at);
    if (taken === blockBytes) {
      this.#takeBlock(bytes.subarray(at, at + blockBytes));
      return taken;
    }
    bytes.copy(this.#block, this.#blockFilled, at, at + taken);
    this.#blockFilled += taken;
    if (this.#blockFilled === blockBytes) {
      this.#blockFilled = 0;
      this.#takeBlock(this.#block);
    }
    return taken;
  }

  #takeBlock(block: Buffer): void {
    const state = this.#state;
    if (state.at === 'header' || state.at === 'closing') {
      if (isZeroBlock(block)) this.#state = { at: state.at === 'header' ? 'closing' : 'done' };
      else if (state.at === 'closing') throw invalidArgument('tar: header after a zero block');
      else this.#takeHeader(block);
    } else if (state.at === 'old-sparse') {
      if (!readOldGnuExtension(block, state.segments))
        this.#startFile(state.header, state.sizeBytes, state.segments, state.header.sizeBytes);
    } else if (state.at === 'sparse-map') {
      const segments = state.map.push(block);
      const dataBytes = this.#dataBytes(state.header) - state.map.mapBytes;
      if (dataBytes < 0) throw invalidArgument('tar: sparse map is longer than its data');
      if (segments !== undefined)
        this.#startFile(state.header, state.sizeBytes, segments, dataBytes, state.name);
    }
  }

  #takeHeader(block: Buffer): void {
    const header = parseTarHeader(block);
    if (extensionFlags.includes(header.typeFlag)) {
      if (header.sizeBytes < 0 || header.sizeBytes > limits.tarHeaderBytes)
        throw invalidArgument(`tar: extended header of ${header.sizeBytes} bytes is too large`);
      this.#state = { at: 'extension', header, parts: [], leftBytes: header.sizeBytes };
      if (header.sizeBytes === 0) this.#takeExtension(header, Buffer.alloc(0));
      return;
    }
    this.#entries += 1;
    if (header.typeFlag === 'S') {
      const segments: TarSegment[] = [];
      const { more, sizeBytes } = readOldGnuHeader(block, segments);
      if (more) this.#state = { at: 'old-sparse', header, segments, sizeBytes };
      else this.#startFile(header, sizeBytes, segments, header.sizeBytes);
      return;
    }
    const sparse = isFile(header) ? paxSparse(this.#records) : undefined;
    if (sparse === undefined) this.#start(header);
    else this.#startSparse(header, sparse);
  }

  #pushExtension(state: State & { at: 'extension' }, bytes: Buffer): number {
    const part = bytes.subarray(0, state.leftBytes);
    state.parts.push(Buffer.from(part));
    state.leftBytes -= part.length;
    if (state.leftBytes === 0) this.#takeExtension(state.header, Buffer.concat(state.parts));
    return part.length;
  }

  #takeExtension(header: TarHeader, body: Buffer): void {
    const text = (): string =>
      decodeText(body.subarray(0, body.indexOf(0) < 0 ? body.length : body.indexOf(0)));
    if (header.typeFlag === 'L') this.#longPath = text();
    else if (header.typeFlag === 'K') this.#longLink = text();
    else {
      const records = parsePaxRecords(body);
      if (header.typeFlag !== 'g') this.#records = records;
    }
    this.#enterPadding(paddingOf(header.sizeBytes), false);
  }

  #startSparse(header: TarHeader, sparse: PaxSparse): void {
    const dataBytes = this.#dataBytes(header);
    if (sparse.segments === undefined)
      this.#state = {
        at: 'sparse-map',
        header,
        map: new SparseMapReader(),
        sizeBytes: sparse.sizeBytes,
        name: sparse.name,
      };
    else this.#startFile(header, sparse.sizeBytes, sparse.segments, dataBytes, sparse.name);
  }

  /** An entry whose data, if any, is the file as it is. */
  #start(header: TarHeader): void {
    const entry = this.#entry(header);
    if (entry.sizeBytes < 0) throw invalidArgument(`tar: ${JSON.stringify(entry.path)} has a negative size`);
    const segments = entry.sizeBytes > 0 ? [{ offset: 0, lengthBytes: entry.sizeBytes }] : [];
    this.#announce(entry, segments, entry.sizeBytes);
  }

  #startFile(
    header: TarHeader,
    sizeBytes: number,
    segments: readonly TarSegment[],
    dataBytes: number,
    name?: string,
  ): void {
    const plain = this.#entry(header);
    const path = name ?? plain.path;
    try {
      checkText('path', path);
      const checked = checkSegments(segments, sizeBytes, dataBytes);
      this.#announce({ ...plain, path, sizeBytes, segments: checked }, checked, dataBytes);
    } catch (error) {
      throw wrap(`tar: ${JSON.stringify(path)}`, error);
    }
  }

  #announce(entry: TarEntry, segments: readonly TarSegment[], dataBytes: number): void {
    this.#records = [];
    this.#longPath = undefined;
    this.#longLink = undefined;
    this.#sink.entry(entry);
    const paddingBytes = paddingOf(dataBytes);
    if (dataBytes === 0) this.#enterPadding(0, true);
    else
      this.#state = { at: 'data', segment: 0, segmentDone: 0, segments, leftBytes: dataBytes, paddingBytes };
  }

  #pushData(state: State & { at: 'data' }, bytes: Buffer): number {
    const segment = state.segments[state.segment]!;
    const part = bytes.subarray(0, segment.lengthBytes - state.segmentDone);
    this.#sink.data(part, segment.offset + state.segmentDone);
    state.segmentDone += part.length;
    state.leftBytes -= part.length;
    if (state.segmentDone === segment.lengthBytes) {
      state.segment += 1;
      state.segmentDone = 0;
    }
    if (state.leftBytes === 0) this.#enterPadding(state.paddingBytes, true);
    return part.length;
  }

  #enterPadding(leftBytes: number, closesEntry: boolean): void {
    if (leftBytes > 0) this.#state = { at: 'padding', leftBytes, closesEntry };
    else {
      this.#state = { at: 'header' };
      if (closesEntry) this.#sink.end();
    }
  }

  #pushPadding(state: State & { at: 'padding' }, availableBytes: number): number {
    const taken = Math.min(state.leftBytes, availableBytes);
    state.leftBytes -= taken;
    if (state.leftBytes === 0) this.#enterPadding(0, state.closesEntry);
    return taken;
  }

  #dataBytes(header: TarHeader): number {
    const record = this.#records.findLast(({ key, value }) => key === 'size' && value.length > 0);
    return record === undefined ? header.sizeBytes : parsePaxNumber(record.value.toString());
  }

  /** Header block, GNU long names and PAX records as one; the stronger win in that order. */
  #entry(header: TarHeader): TarEntry {
    const fields = paxFields(this.#records);
    const path = fields.path ?? this.#longPath ?? header.path;
    try {
      const kind = kindOf(header, path);
      const hasData = kind === 'file';
      return {
        kind,
        path: checkText('path', path),
        linkPath: checkText('link target', fields.linkpath ?? this.#longLink ?? header.linkPath),
        mode: header.mode,
        uid: checkOwner(fields.uid ?? header.uid),
        gid: checkOwner(fields.gid ?? header.gid),
        sizeBytes: hasData ? (fields.size ?? header.sizeBytes) : 0,
        modifiedAt: fields.mtime ?? instantOfNs(BigInt(header.modifiedSeconds) * 1_000_000_000n),
        deviceMajor: header.deviceMajor,
        deviceMinor: header.deviceMinor,
        xattrs: checkNames(fields.xattrs),
      };
    } catch (error) {
      if (error instanceof ContainerdError) throw wrap(`tar: ${JSON.stringify(path.slice(0, 256))}`, error);
      throw error;
    }
  }
}

const isFile = (header: TarHeader): boolean => kinds[header.typeFlag] === 'file';

function kindOf(header: TarHeader, path: string): TarEntryKind {
  const kind = Object.hasOwn(kinds, header.typeFlag) ? kinds[header.typeFlag] : undefined;
  if (kind === undefined)
    throw invalidArgument(`entries of type ${JSON.stringify(header.typeFlag)} are not supported`);
  // Archives of before POSIX have no directories but files whose name ends so.
  return header.typeFlag === '\0' && path.endsWith('/') ? 'directory' : kind;
}

function checkText(what: string, text: string): string {
  if (text.includes('\0')) throw invalidArgument(`NUL in ${what}`);
  if (Buffer.byteLength(text) > limits.tarPathBytes)
    throw invalidArgument(`${what} is longer than ${limits.tarPathBytes} bytes`);
  return text;
}

function checkNames(xattrs: Map<string, Buffer>): Map<string, Buffer> {
  for (const name of xattrs.keys()) checkText('attribute name', name);
  return xattrs;
}

/** -1 would mean "leave as it is" to chown(2). */
function checkOwner(id: number): number {
  if (id < 0 || id >= 0xffff_ffff) throw invalidArgument(`owner ${id} is out of range`);
  return id;
}

interface PaxFields {
  path?: string;
  linkpath?: string;
  uid?: number;
  gid?: number;
  size?: number;
  mtime?: Instant;
  readonly xattrs: Map<string, Buffer>;
}

const schilyXattr = 'SCHILY.xattr.';
const libarchiveXattr = 'LIBARCHIVE.xattr.';

function paxFields(records: readonly PaxRecord[]): PaxFields {
  const fields: PaxFields = { xattrs: new Map() };
  for (const { key, value } of records) {
    if (key.startsWith(schilyXattr)) fields.xattrs.set(key.slice(schilyXattr.length), value);
    else if (key.startsWith(libarchiveXattr)) {
      const name = unquote(key.slice(libarchiveXattr.length));
      if (!fields.xattrs.has(name)) fields.xattrs.set(name, Buffer.from(value.toString('latin1'), 'base64'));
    } else if (value.length === 0) {
      // An empty value takes an earlier one back.
      continue;
    } else if (key === 'path' || key === 'linkpath') fields[key] = decodeText(value);
    else if (key === 'uid' || key === 'gid' || key === 'size') fields[key] = parsePaxNumber(value.toString());
    else if (key === 'mtime') fields.mtime = parsePaxTime(value.toString());
  }
  return fields;
}

function unquote(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch (error) {
    throw invalidArgument(`malformed attribute name ${JSON.stringify(name)}`, error);
  }
}
