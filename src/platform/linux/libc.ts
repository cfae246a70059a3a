/**
 * libc as TypeScript sees it: the functions and constants of the C library that this folder calls, and nothing else.
 *
 * The signatures hold for the 64-bit ABIs of x64 and arm64. Both pass variadic arguments like fixed ones, so
 * ioctl(2) and syscall(2) are declared with fixed lists. System call numbers from 424 up are the same on both.
 * errno must be fetched right after the call: `check` does.
 */
import * as koffi from 'koffi';
import { fromErrno } from '../errno.ts';

const library = koffi.load('libc.so.6');

type Pointer = Buffer | null;
type Strings = readonly (string | null)[];

/** A function that older C libraries lack. */
function optional(definition: string): ReturnType<typeof library.func> | undefined {
  try {
    return library.func(definition);
  } catch {
    return undefined;
  }
}

export const errno = (): number => koffi.errno();

/** Passes a result through, or throws what errno says when it is negative. */
export function check(call: string, path: string, result: number): number {
  if (result < 0) throw fromErrno(call, path, koffi.errno());
  return result;
}

/** Address of a buffer's bytes, for structures that point to others. The buffer must stay referenced. */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer);

// Files.
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EMPTY_PATH = 0x1000;
export const AT_RECURSIVE = 0x8000;
export const utimensat: (dirFd: number, path: string, times: Buffer, flags: number) => number = library.func(
  'int utimensat(int, const char *, const void *, int)',
);
export const mknod: (path: string, mode: number, device: bigint) => number = library.func(
  'int mknod(const char *, uint32_t, uint64_t)',
);
export const llistxattr: (path: string, list: Pointer, size: number) => number = library.func(
  'int64_t llistxattr(const char *, void *, size_t)',
);
export const lgetxattr: (path: string, name: string, value: Pointer, size: number) => number = library.func(
  'int64_t lgetxattr(const char *, const char *, void *, size_t)',
);
export const lsetxattr: (path: string, name: string, value: Buffer, size: number, flags: number) => number =
  library.func('int lsetxattr(const char *, const char *, const void *, size_t, int)');
export const lremovexattr: (path: string, name: string) => number = library.func(
  'int lremovexattr(const char *, const char *)',
);
export const SEEK_SET = 0;
export const SEEK_CUR = 1;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const lseek: (fd: number, offset: number, whence: number) => number | bigint = library.func(
  'int64_t lseek(int, int64_t, int)',
);
const syncfsCall = library.func('int syncfs(int)');
/** On a thread of libuv's pool: it takes as long as the disk does. Resolves with 0 or a negative errno. */
export const syncfs = (fd: number): Promise<number> =>
  new Promise((resolve, reject) => {
    syncfsCall.async(fd, (failure: Error | null, result: number) => {
      if (failure !== null) reject(failure);
      else resolve(result < 0 ? -koffi.errno() : result);
    });
  });
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const flock: (fd: number, operation: number) => number = library.func('int flock(int, int)');
export const CLONE_FS = 0x200;
export const CLONE_NEWNET = 0x4000_0000;
export const setns: (fd: number, type: number) => number = library.func('int setns(int, int)');
export const unshare: (flags: number) => number = library.func('int unshare(int)');
export const chroot: (path: string) => number = library.func('int chroot(const char *)');
export const chdir: (path: string) => number = library.func('int chdir(const char *)');
const close: (fd: number) => number = library.func('int close(int)');
/** For descriptors made by calls of this file, which Node does not know: in workers it warns about such. */
export const closeDescriptor = (fd: number): void => {
  close(fd);
};

// Mounts.
export const mount: (
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string | null,
) => number = library.func(
  'int mount(const char *, const char *, const char *, unsigned long, const char *)',
);
export const umount2: (target: string, flags: number) => number = library.func(
  'int umount2(const char *, int)',
);
export const MS_BIND = 4096;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

const syscallOpenTree: (number: number, dirFd: number, path: string, flags: number) => number = library.func(
  'long syscall(long, long, const char *, unsigned long)',
);
export const OPEN_TREE_CLONE = 1;
export const OPEN_TREE_CLOEXEC = 0o2000000;
export const openTree = (dirFd: number, path: string, flags: number): number =>
  syscallOpenTree(428, dirFd, path, flags);

const syscallMoveMount: (
  number: number,
  fromFd: number,
  from: string,
  toFd: number,
  to: string,
  flags: number,
) => number = library.func('long syscall(long, long, const char *, long, const char *, unsigned long)');
export const MOVE_MOUNT_F_EMPTY_PATH = 4;
export const moveMount = (fromFd: number, target: string): number =>
  syscallMoveMount(429, fromFd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);

const syscallFsopen: (number: number, type: string, flags: number) => number = library.func(
  'long syscall(long, const char *, unsigned long)',
);
export const fsopen = (type: string): number => syscallFsopen(430, type, 1);

const syscallFsconfig: (
  number: number,
  fd: number,
  command: number,
  key: string | null,
  value: string | null,
  aux: number,
) => number = library.func('long syscall(long, long, unsigned long, const char *, const char *, long)');
export const FSCONFIG_SET_FLAG = 0;
export const FSCONFIG_SET_STRING = 1;
export const FSCONFIG_CMD_CREATE = 6;
export const fsconfig = (fd: number, command: number, key: string | null, value: string | null): number =>
  syscallFsconfig(431, fd, command, key, value, 0);

const syscallNumbers: (number: number, first: number, second: number, third: number) => number = library.func(
  'long syscall(long, long, long, long)',
);
export const fsmount = (fd: number, attributes: number): number => syscallNumbers(432, fd, 1, attributes);

const syscallMountSetattr: (
  number: number,
  fd: number,
  path: string,
  flags: number,
  attributes: Buffer,
  size: number,
) => number = library.func('long syscall(long, long, const char *, unsigned long, const void *, size_t)');
export const mountSetattr = (fd: number, flags: number, attributes: Buffer): number =>
  syscallMountSetattr(442, fd, '', flags, attributes, attributes.length);

// Processes.
export const POSIX_SPAWN_SETPGROUP = 0x02;
export const POSIX_SPAWN_SETSIGDEF = 0x04;
export const POSIX_SPAWN_SETSIGMASK = 0x08;
export const POSIX_SPAWN_SETSID = 0x80;
/** Bytes that are enough for any of posix_spawn's three opaque structures and for sigset_t. */
export const spawnStructureBytes = 512;
export const posixSpawn: (
  pid: Buffer,
  file: string,
  actions: Buffer,
  attributes: Buffer,
  args: Strings,
  env: Strings,
) => number = library.func(
  'int posix_spawn(void *, const char *, const void *, const void *, const char **, const char **)',
);
export const spawnActionsInit: (actions: Buffer) => number = library.func(
  'int posix_spawn_file_actions_init(void *)',
);
export const spawnActionsDestroy: (actions: Buffer) => number = library.func(
  'int posix_spawn_file_actions_destroy(void *)',
);
export const spawnActionsDup2: (actions: Buffer, fd: number, target: number) => number = library.func(
  'int posix_spawn_file_actions_adddup2(void *, int, int)',
);
export const spawnActionsOpen: (
  actions: Buffer,
  fd: number,
  path: string,
  flags: number,
  mode: number,
) => number = library.func('int posix_spawn_file_actions_addopen(void *, int, const char *, int, uint32_t)');
export const spawnActionsClose: (actions: Buffer, fd: number) => number = library.func(
  'int posix_spawn_file_actions_addclose(void *, int)',
);
export const spawnActionsChdir: (actions: Buffer, path: string) => number = library.func(
  'int posix_spawn_file_actions_addchdir_np(void *, const char *)',
);
/** glibc 2.34. */
export const spawnActionsCloseFrom: ((actions: Buffer, from: number) => number) | undefined = optional(
  'int posix_spawn_file_actions_addclosefrom_np(void *, int)',
);
export const spawnAttributesInit: (attributes: Buffer) => number = library.func(
  'int posix_spawnattr_init(void *)',
);
export const spawnAttributesDestroy: (attributes: Buffer) => number = library.func(
  'int posix_spawnattr_destroy(void *)',
);
export const spawnAttributesSetFlags: (attributes: Buffer, flags: number) => number = library.func(
  'int posix_spawnattr_setflags(void *, short)',
);
export const spawnAttributesSetGroup: (attributes: Buffer, group: number) => number = library.func(
  'int posix_spawnattr_setpgroup(void *, int)',
);
export const spawnAttributesSetMask: (attributes: Buffer, set: Buffer) => number = library.func(
  'int posix_spawnattr_setsigmask(void *, const void *)',
);
export const spawnAttributesSetDefault: (attributes: Buffer, set: Buffer) => number = library.func(
  'int posix_spawnattr_setsigdefault(void *, const void *)',
);
export const sigemptyset: (set: Buffer) => number = library.func('int sigemptyset(void *)');
export const WNOHANG = 1;
export const waitpid: (pid: number, status: Pointer, options: number) => number = library.func(
  'int waitpid(int, void *, int)',
);
export const killProcess: (pid: number, signal: number) => number = library.func('int kill(int, int)');
export const PR_SET_CHILD_SUBREAPER = 36;
export const prctl: (option: number, second: number, third: number, fourth: number, fifth: number) => number =
  library.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
export const pidfdOpen = (pid: number): number => syscallNumbers(434, pid, 0, 0);
const syscallPidfdSignal: (
  number: number,
  pidfd: number,
  signal: number,
  info: null,
  flags: number,
) => number = library.func('long syscall(long, long, long, void *, unsigned long)');
export const pidfdSendSignal = (pidfd: number, signal: number): number =>
  syscallPidfdSignal(424, pidfd, signal, null, 0);
/** _IOWR(0xFF, 11, struct pidfd_info) with the first published size of 64 bytes; kernel 6.13, exit codes 6.15. */
export const PIDFD_GET_INFO = 0xc040_ff0b;

export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;
export const eventfd: (initial: number, flags: number) => number = library.func(
  'int eventfd(unsigned int, int)',
);

// Memory.
export const mallocTrim: (padBytes: number) => number = library.func('int malloc_trim(size_t)');
export const MADV_DONTNEED = 4;
export const madvise: (start: bigint, length: number, advice: number) => number = library.func(
  'int madvise(uintptr_t, size_t, int)',
);

// Pipes.
export const SPLICE_F_MOVE = 1;
export const SPLICE_F_NONBLOCK = 2;
export const splice: (
  from: number,
  fromOffset: Pointer,
  to: number,
  toOffset: Pointer,
  size: number,
  flags: number,
) => number = library.func('int64_t splice(int, void *, int, void *, size_t, unsigned int)');
/** fcntl(2): the capacity of a pipe. */
export const F_SETPIPE_SZ = 1031;
export const fcntl: (fd: number, command: number, argument: number) => number =
  library.func('int fcntl(int, int, long)');
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const fallocate: (fd: number, mode: number, offset: number, length: number) => number = library.func(
  'int fallocate(int, int, int64_t, int64_t)',
);

// Terminals and sockets.
export const TCSANOW = 0;
export const TIOCGWINSZ = 0x5413;
export const TIOCSWINSZ = 0x5414;
export const FIONBIO = 0x5421;
export const TIOCSPTLCK = 0x4004_5431;
export const TIOCGPTPEER = 0x5441;
/** ioctl_iflags(2). */
export const FS_IOC_GETFLAGS = 0x8008_6601;
export const FS_IOC_SETFLAGS = 0x4008_6602;
export const FS_TOPDIR_FL = 0x0002_0000;
export const ioctl: (fd: number, request: number, argument: Buffer) => number = library.func(
  'int ioctl(int, unsigned long, void *)',
);
export const ioctlNumber: (fd: number, request: number, argument: number) => number = library.func(
  'int ioctl(int, unsigned long, long)',
);
export const tcgetattr: (fd: number, termios: Buffer) => number = library.func('int tcgetattr(int, void *)');
export const tcsetattr: (fd: number, when: number, termios: Buffer) => number = library.func(
  'int tcsetattr(int, int, const void *)',
);
export const cfmakeraw: (termios: Buffer) => void = library.func('void cfmakeraw(void *)');
export const AF_UNIX = 1;
export const AF_INET = 2;
/** netdevice(7). */
export const SIOCGIFFLAGS = 0x8913;
export const SIOCSIFFLAGS = 0x8914;
export const IFF_UP = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_PEERCRED = 17;
export const SCM_RIGHTS = 1;
export const MSG_CTRUNC = 8;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;
export const socket: (family: number, type: number, protocol: number) => number =
  library.func('int socket(int, int, int)');
export const bind: (fd: number, address: Buffer, length: number) => number = library.func(
  'int bind(int, const void *, uint32_t)',
);
export const listen: (fd: number, backlog: number) => number = library.func('int listen(int, int)');
export const accept4: (fd: number, address: Pointer, length: Pointer, flags: number) => number = library.func(
  'int accept4(int, void *, void *, int)',
);
export const sendto: (
  fd: number,
  data: Buffer,
  size: number,
  flags: number,
  address: Buffer,
  length: number,
) => number = library.func('int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)');
export const recvmsg: (fd: number, message: Buffer, flags: number) => number = library.func(
  'int64_t recvmsg(int, void *, int)',
);
export const getsockopt: (
  fd: number,
  level: number,
  option: number,
  value: Buffer,
  length: Buffer,
) => number = library.func('int getsockopt(int, int, int, void *, void *)');
