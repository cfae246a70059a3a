/** What a tar archive says about one file, whatever dialect said it. */
import { type Instant, instantOfNs } from '../../base/time.ts';

export type TarEntryKind = 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'block' | 'character';

/** A run of bytes that is in the archive; what lies between the segments of a sparse file is a hole. */
export interface TarSegment {
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface TarEntry {
  readonly kind: TarEntryKind;
  /** As written in the archive: not cleaned, not to be trusted. */
  readonly path: string;
  /** Target of a symlink (text) or hard link (a path in the archive); "" for the others. */
  readonly linkPath: string;
  /** 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Size of the file when it is written out, holes included; 0 for all but files. */
  readonly sizeBytes: number;
  readonly modifiedAt: Instant;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
  /** Present for sparse files: ascending, without overlap, inside `sizeBytes`. */
  readonly segments?: readonly TarSegment[];
}

/** A file without bytes, of root and from the epoch. */
export const emptyFile = (path: string, mode: number): TarEntry => ({
  kind: 'file',
  path,
  linkPath: '',
  mode,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  modifiedAt: instantOfNs(0n),
  deviceMajor: 0,
  deviceMinor: 0,
  xattrs: new Map(),
});
