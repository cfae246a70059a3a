/**
 * mount(8) option words as mount(2) flags. Words that are not flags are data for the file system, in their order.
 * `uidmap=` and `gidmap=` are taken out too: they ask for an id-mapped mount (see idmap.ts).
 */
import { invalidArgument } from '../../base/errors.ts';

const MS = {
  rdonly: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  synchronous: 16,
  remount: 32,
  mandlock: 64,
  dirsync: 128,
  nosymfollow: 256,
  noatime: 1024,
  nodiratime: 2048,
  bind: 4096,
  recursive: 16384,
  silent: 32768,
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
  relatime: 1 << 21,
  iversion: 1 << 23,
  strictatime: 1 << 24,
  lazytime: 1 << 25,
} as const;

interface Word {
  readonly flag: number;
  readonly clear?: true;
}

/** Last word wins, as with mount(8): "ro,rw" is rw. */
const words: Readonly<Record<string, Word>> = {
  async: { flag: MS.synchronous, clear: true },
  atime: { flag: MS.noatime, clear: true },
  bind: { flag: MS.bind },
  defaults: { flag: 0 },
  dev: { flag: MS.nodev, clear: true },
  diratime: { flag: MS.nodiratime, clear: true },
  dirsync: { flag: MS.dirsync },
  exec: { flag: MS.noexec, clear: true },
  iversion: { flag: MS.iversion },
  lazytime: { flag: MS.lazytime },
  loud: { flag: MS.silent, clear: true },
  mand: { flag: MS.mandlock },
  noatime: { flag: MS.noatime },
  nodev: { flag: MS.nodev },
  nodiratime: { flag: MS.nodiratime },
  noexec: { flag: MS.noexec },
  noiversion: { flag: MS.iversion, clear: true },
  nolazytime: { flag: MS.lazytime, clear: true },
  nomand: { flag: MS.mandlock, clear: true },
  norelatime: { flag: MS.relatime, clear: true },
  nostrictatime: { flag: MS.strictatime, clear: true },
  nosuid: { flag: MS.nosuid },
  nosymfollow: { flag: MS.nosymfollow },
  rbind: { flag: MS.bind | MS.recursive },
  relatime: { flag: MS.relatime },
  remount: { flag: MS.remount },
  ro: { flag: MS.rdonly },
  rw: { flag: MS.rdonly, clear: true },
  silent: { flag: MS.silent },
  strictatime: { flag: MS.strictatime },
  suid: { flag: MS.nosuid, clear: true },
  symfollow: { flag: MS.nosymfollow, clear: true },
  sync: { flag: MS.synchronous },
};

const propagations: Readonly<Record<string, number>> = {
  private: MS.private,
  rprivate: MS.private | MS.recursive,
  shared: MS.shared,
  rshared: MS.shared | MS.recursive,
  slave: MS.slave,
  rslave: MS.slave | MS.recursive,
  unbindable: MS.unbindable,
  runbindable: MS.unbindable | MS.recursive,
};

export const remountBindFlags = MS.remount | MS.bind;

/** Flags of the mount itself, which a bind mount takes only when it is mounted again. */
const perMountFlags =
  MS.rdonly |
  MS.nosuid |
  MS.nodev |
  MS.noexec |
  MS.nosymfollow |
  MS.noatime |
  MS.nodiratime |
  MS.relatime |
  MS.strictatime;

export interface ParsedMountOptions {
  readonly flags: number;
  readonly data: readonly string[];
  /** Changes of propagation, each a call of its own after the mount. */
  readonly propagation: readonly number[];
  readonly uidMap: string | undefined;
  readonly gidMap: string | undefined;
}

export const isBind = (flags: number): boolean => (flags & MS.bind) !== 0 && (flags & MS.remount) === 0;
export const isRemount = (flags: number): boolean => (flags & MS.remount) !== 0;
export const isReadOnly = (flags: number): boolean => (flags & MS.rdonly) !== 0;
export const isRecursive = (flags: number): boolean => (flags & MS.recursive) !== 0;
export const perMountPart = (flags: number): number => flags & perMountFlags;

/** The attributes of fsmount(2) and mount_setattr(2) for the same flags. */
export function mountAttributes(flags: number): number {
  const pairs: readonly (readonly [number, number])[] = [
    [MS.rdonly, 0x1],
    [MS.nosuid, 0x2],
    [MS.nodev, 0x4],
    [MS.noexec, 0x8],
    [MS.noatime, 0x10],
    [MS.strictatime, 0x20],
    [MS.nodiratime, 0x80],
    [MS.nosymfollow, 0x20_0000],
  ];
  return pairs.reduce((all, [flag, attribute]) => ((flags & flag) === 0 ? all : all | attribute), 0);
}

/** Errors: InvalidArgument for NUL bytes, which would cut an option short, and for half an id mapping. */
export function parseMountOptions(options: readonly string[]): ParsedMountOptions {
  let flags = 0;
  const data: string[] = [];
  const propagation: number[] = [];
  let uidMap: string | undefined;
  let gidMap: string | undefined;
  for (const option of options) {
    if (option.includes('\0')) throw invalidArgument(`mount option ${JSON.stringify(option)} has a NUL byte`);
    const word = Object.hasOwn(words, option) ? words[option] : undefined;
    const change = Object.hasOwn(propagations, option) ? propagations[option] : undefined;
    if (word !== undefined) flags = word.clear === true ? flags & ~word.flag : flags | word.flag;
    else if (change !== undefined) propagation.push(change);
    else if (option.startsWith('uidmap=')) uidMap = option.slice('uidmap='.length);
    else if (option.startsWith('gidmap=')) gidMap = option.slice('gidmap='.length);
    else if (option !== '') data.push(option);
  }
  if ((uidMap === undefined) !== (gidMap === undefined))
    throw invalidArgument('an id-mapped mount needs both uidmap= and gidmap=');
  return { flags, data, propagation, uidMap, gidMap };
}
