/** Unix sockets on Linux: who is on the other end, and descriptors that come over. unix(7), cmsg(3). */
import { failedPrecondition, invalidArgument, resourceExhausted, unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { SocketOperations } from '../platform.ts';
import * as libc from './libc.ts';

export class LinuxSockets implements SocketOperations {
  peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
    const value = Buffer.alloc(12);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(value.length);
    const result = libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_PEERCRED, value, length);
    libc.check('getsockopt', 'SO_PEERCRED', result);
    return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
  }

  sendDatagram(path: string, bytes: Uint8Array): void {
    const type = libc.SOCK_DGRAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;
    const fd = libc.check('socket', path, libc.socket(libc.AF_UNIX, type, 0));
    try {
      const address = unixAddress(path);
      // An abstract name starts with a zero byte and ends with its length (unix(7)).
      const abstract = path.startsWith('@');
      if (abstract) address[2] = 0;
      const length = abstract ? address.length - 1 : address.length;
      const data = Buffer.from(bytes);
      libc.check('sendto', path, libc.sendto(fd, data, data.length, 0, address, length));
    } finally {
      libc.closeDescriptor(fd);
    }
  }
}

const pathBytes = 108;

/** sockaddr_un of a path. Errors: InvalidArgument when it is too long for the kernel. */
export function unixAddress(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length >= pathBytes)
    throw invalidArgument(
      `socket path ${path} is longer than the ${pathBytes - 1} bytes that unix(7) allows`,
    );
  const address = Buffer.alloc(2 + pathBytes);
  address.writeUInt16LE(libc.AF_UNIX, 0);
  bytes.copy(address, 2);
  return address.subarray(0, 2 + bytes.length + 1);
}

const headerBytes = 16;
const dataBytes = 4096;
const vectorBytes = 16;
/** struct msghdr of 64-bit systems, and where its fields are. */
const messageBytes = 56;
const at = { vector: 16, vectorCount: 24, control: 32, controlLength: 40, flags: 48 } as const;

/** Descriptors in a control buffer, by the alignment of cmsg(3) on 64-bit systems. */
function passedDescriptors(control: Buffer): number[] {
  const found: number[] = [];
  for (let offset = 0; offset + headerBytes <= control.length; ) {
    const length = Number(control.readBigUInt64LE(offset));
    if (length < headerBytes || offset + length > control.length) break;
    const level = control.readInt32LE(offset + 8);
    const type = control.readInt32LE(offset + 12);
    if (level === libc.SOL_SOCKET && type === libc.SCM_RIGHTS)
      for (let place = offset + headerBytes; place + 4 <= offset + length; place += 4)
        found.push(control.readInt32LE(place));
    offset += (length + 7) & ~7;
  }
  return found;
}

/**
 * One message with exactly one descriptor, which is close-on-exec and the caller's. Whatever else a peer sends along
 * is closed. Errors: Unavailable when the peer hung up, FailedPrecondition when it sent another number of them,
 * ResourceExhausted when the kernel had to drop some: too many, or we have no room for them.
 */
export function receiveDescriptor(fd: number): number {
  const { length, flags, received } = receiveMessage(fd);
  const [first, ...rest] = received;
  const isCut = (flags & libc.MSG_CTRUNC) !== 0;
  if (first !== undefined && rest.length === 0 && !isCut) return first;
  for (const extra of received) libc.closeDescriptor(extra);
  if (isCut)
    throw resourceExhausted(
      'the peer sent a descriptor that could not be taken: it sent too many, or too many are open here',
    );
  if (length === 0) throw unavailable('the peer closed the socket without sending a descriptor');
  throw failedPrecondition(`the peer sent ${received.length} descriptors where one was expected`);
}

/**
 * recvmsg(2). All that the kernel writes to lies in the one buffer that the call is given: others, known to it by
 * address only, could be collected meanwhile.
 */
function receiveMessage(fd: number): { length: number; flags: number; received: number[] } {
  const controlBytes = headerBytes + limits.passedDescriptors * 4 + 8;
  const block = Buffer.alloc(messageBytes + vectorBytes + dataBytes + controlBytes);
  const vector = messageBytes;
  const data = vector + vectorBytes;
  const control = data + dataBytes;
  const address = libc.addressOf(block);
  block.writeBigUInt64LE(address + BigInt(vector), at.vector);
  block.writeBigUInt64LE(1n, at.vectorCount);
  block.writeBigUInt64LE(address + BigInt(control), at.control);
  block.writeBigUInt64LE(BigInt(controlBytes), at.controlLength);
  block.writeBigUInt64LE(address + BigInt(data), vector);
  block.writeBigUInt64LE(BigInt(dataBytes), vector + 8);
  const length = libc.check('recvmsg', '', libc.recvmsg(fd, block, libc.MSG_CMSG_CLOEXEC));
  const filledBytes = Number(block.readBigUInt64LE(at.controlLength));
  return {
    length,
    flags: block.readInt32LE(at.flags),
    received: passedDescriptors(block.subarray(control, control + filledBytes)),
  };
}
