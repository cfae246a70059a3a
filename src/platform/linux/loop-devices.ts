/**
 * Loop devices by ioctl(2) (loop(4); LOOP_CONFIGURE since Linux 5.8). A device is attached so that the kernel detaches
 * it with its last user, so a process that is killed leaves none behind; `keep` takes that back.
 *
 * Device numbers are given again to others: each carries a tag, and only who knows it may detach.
 */
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { invalidArgument, resourceExhausted } from '../../base/errors.ts';
import { fromErrno, isErrno, withNodeErrors } from '../errno.ts';
import type { LoopDevice, LoopOperations } from '../platform.ts';
import * as libc from './libc.ts';

const LOOP_CLR_FD = 0x4c01;
const LOOP_SET_STATUS64 = 0x4c04;
const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
const readOnlyFlag = 1;
const autoclearFlag = 4;

const infoBytes = 232;
const configBytes = 304;
const infoAt = 8;
const flagsAt = 52;
const nameAt = 56;
const nameBytes = 64;
const loopMajor = 7;
const attempts = 16;
const devicePattern = /^\/dev\/loop\d+$/;

export class LinuxLoops implements LoopOperations {
  attach(file: string, { readOnly, tag = file }: { readOnly: boolean; tag?: string }): LoopDevice {
    const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
    const backing = withNodeErrors(() =>
      openSync(file, access | constants.O_NOFOLLOW | constants.O_NONBLOCK),
    );
    try {
      return configure(file, backing, { readOnly, tag });
    } finally {
      closeSync(backing);
    }
  }

  detach(device: string, tag: string): boolean {
    using opened = openDevice(device, constants.O_RDONLY);
    if (opened === undefined || tagOf(opened.fd) !== shortened(tag)) return false;
    libc.check('detach', device, libc.ioctlNumber(opened.fd, LOOP_CLR_FD, 0));
    return true;
  }

  isAttached(device: string, tag: string): boolean {
    using opened = openDevice(device, constants.O_RDONLY);
    return opened !== undefined && tagOf(opened.fd) === shortened(tag);
  }
}

/** Somebody else may take the free number first. */
function configure(
  file: string,
  backing: number,
  { readOnly, tag }: { readOnly: boolean; tag: string },
): LoopDevice {
  const config = Buffer.alloc(configBytes);
  config.writeUInt32LE(backing, 0);
  config.writeUInt32LE(autoclearFlag | (readOnly ? readOnlyFlag : 0), infoAt + flagsAt);
  config.write(shortened(tag), infoAt + nameAt, 'latin1');
  const control = withNodeErrors(() => openSync('/dev/loop-control', constants.O_RDWR));
  try {
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      const number = libc.check(
        'find a free loop device',
        file,
        libc.ioctlNumber(control, LOOP_CTL_GET_FREE, 0),
      );
      const path = `/dev/loop${number}`;
      makeNode(path, number);
      const fd = withNodeErrors(() => openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR));
      if (libc.ioctl(fd, LOOP_CONFIGURE, config) === 0) return attached(path, fd);
      const error = fromErrno('attach to a loop device', file, libc.errno());
      closeSync(fd);
      if (!isErrno(error, 'EBUSY')) throw error;
    }
  } finally {
    closeSync(control);
  }
  throw resourceExhausted(
    `attach ${file}: no loop device stays free long enough: detach some (losetup -l lists them)`,
  );
}

/** Where /dev is not devtmpfs, numbers beyond those it was made with have no node. */
function makeNode(path: string, number: number): void {
  if (existsSync(path)) return;
  const device = (BigInt(loopMajor) << 8n) | BigInt(number & 0xff) | (BigInt(number & ~0xff) << 12n);
  const result = libc.mknod(path, 0o060_660, device);
  if (result < 0 && libc.errno() !== 17) libc.check('make the device', path, result);
}

function attached(path: string, fd: number): LoopDevice {
  let isOpen = true;
  return {
    path,
    keep: () => {
      const info = Buffer.alloc(infoBytes);
      libc.check('look at', path, libc.ioctl(fd, LOOP_GET_STATUS64, info));
      info.writeUInt32LE(info.readUInt32LE(flagsAt) & ~autoclearFlag, flagsAt);
      libc.check('keep', path, libc.ioctl(fd, LOOP_SET_STATUS64, info));
    },
    [Symbol.dispose]: () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

function openDevice(device: string, access: number): (Disposable & { readonly fd: number }) | undefined {
  if (!devicePattern.test(device)) throw invalidArgument(`${JSON.stringify(device)} is no loop device`);
  if (!existsSync(device)) return undefined;
  const fd = withNodeErrors(() => openSync(device, access));
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/** Undefined when nothing is attached. */
function tagOf(fd: number): string | undefined {
  const info = Buffer.alloc(infoBytes);
  if (libc.ioctl(fd, LOOP_GET_STATUS64, info) !== 0) return undefined;
  const name = info.subarray(nameAt, nameAt + nameBytes);
  return name.subarray(0, name.indexOf(0)).toString('latin1');
}

/** As many bytes as the kernel keeps, the last ones, for paths differ there. Latin-1, so that none is cut in two. */
const shortened = (tag: string): string =>
  Buffer.from(tag, 'utf8')
    .subarray(-(nameBytes - 1))
    .toString('latin1');
