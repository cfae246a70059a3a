/**
 * Id-mapped mounts (mount_setattr(2), MOUNT_ATTR_IDMAP): the options `uidmap=CONTAINER:HOST:SIZE[,…]` and `gidmap=`
 * as containerd's snapshotters write them.
 * The kernel takes the mapping from a user namespace (user-namespace.ts).
 */
import { closeSync, openSync } from 'node:fs';
import { invalidArgument, unimplemented } from '../../base/errors.ts';
import { fromErrno, isErrno } from '../errno.ts';
import * as libc from './libc.ts';
import { withUserNamespace } from './user-namespace.ts';

const MOUNT_ATTR_IDMAP = 0x10_0000n;

/** Lines for /proc/PID/uid_map. Errors: InvalidArgument. */
function parseIdMap(option: string, text: string): string {
  const lines = text.split(',').map((range) => {
    const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(range);
    if (match === null)
      throw invalidArgument(`${option}=${text}: ${JSON.stringify(range)} is not CONTAINER:HOST:SIZE`);
    return `${match[1]} ${match[2]} ${match[3]}\n`;
  });
  return lines.join('');
}

export class IdMapping implements Disposable {
  readonly #userNamespace: number;

  /** Errors: InvalidArgument for a malformed mapping, NotFound without unshare(1). */
  constructor(uidMap: string, gidMap: string) {
    const lines = { uid: parseIdMap('uidmap', uidMap), gid: parseIdMap('gidmap', gidMap) };
    this.#userNamespace = withUserNamespace(lines, [], (pid) => openSync(`/proc/${pid}/ns/user`, 'r'));
  }

  /** Attaches an id-mapped copy of the tree at `source` to `target`. */
  bind(source: string, target: string, options: { recursive: boolean }): void {
    const recursive = options.recursive ? libc.AT_RECURSIVE : 0;
    const flags = libc.OPEN_TREE_CLONE | libc.OPEN_TREE_CLOEXEC | recursive;
    const tree = libc.check('open_tree', source, libc.openTree(libc.AT_FDCWD, source, flags));
    try {
      const attributes = Buffer.alloc(32);
      attributes.writeBigUInt64LE(MOUNT_ATTR_IDMAP, 0);
      attributes.writeBigUInt64LE(BigInt(this.#userNamespace), 24);
      if (libc.mountSetattr(tree, libc.AT_EMPTY_PATH | recursive, attributes) < 0) {
        const error = fromErrno('mount_setattr', source, libc.errno());
        if (!isErrno(error, 'EINVAL', 'ENOSYS')) throw error;
        throw unimplemented(`${source}: this kernel or file system has no id-mapped mounts`);
      }
      libc.check('move_mount', target, libc.moveMount(tree, target));
    } finally {
      libc.closeDescriptor(tree);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#userNamespace);
  }
}
