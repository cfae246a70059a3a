/**
 * The seam to the operating system. Everything above asks this interface; only `linux/` and `portable/` beside it
 * know how. FFI and child processes live nowhere else.
 *
 * `linux/` talks to libc through koffi. `portable/` is plain Node: what it cannot do throws Unimplemented with the
 * name of the call, so content, metadata, registry client, transfer and the native snapshotter run wherever Node
 * runs. `selectPlatform()` (select.ts) picks one; GANTRY_PLATFORM=portable forces the twin.
 *
 * Calls are synchronous where the kernel call is short (they are also used by confined workers, which must not
 * touch libuv's pool); what can block is a promise. errno becomes a ContainerdError in one table
 * (errno.ts); `cause` keeps the errno name, call and path.
 */
import type { Instant } from '../base/time.ts';
import type { Mount } from './mount.ts';

export interface Platform {
  readonly name: 'linux' | 'portable';
  readonly files: FileOperations;
  readonly mounts: MountOperations;
  readonly loops: LoopOperations;
  readonly processes: ProcessOperations;
  readonly pipes: PipeOperations;
  readonly terminals: TerminalOperations;
  readonly sockets: SocketOperations;
  readonly cgroups: CgroupOperations;
  readonly namespaces: NamespaceOperations;
  readonly memory: MemoryOperations;
  readonly inflate: InflateOperations;
}

export type CompressedFormat = 'gzip' | 'zstd';

/** Takes a compressed stream in pieces of any size. Dispose frees what the engine holds. */
export interface Inflater extends Disposable {
  /** What comes out is given on during the call. Errors: InvalidArgument for damaged input. */
  push(bytes: Uint8Array): void;
  /** Nothing more comes. Errors: InvalidArgument when the stream is cut. */
  end(): void;
}

/** Inflating on the calling thread. The portable twin has Node's streams only, which work in libuv's pool. */
export interface InflateOperations {
  /** Name of the engine (`isa-l`, `zlib`, `zstd`); undefined when there is none for the format. */
  engine(format: CompressedFormat): string | undefined;
  /** `take` has its bytes only during the call. Undefined when there is no engine. Errors: ResourceExhausted. */
  open(format: CompressedFormat, take: (bytes: Uint8Array) => void): Inflater | undefined;
}

export type FileKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'block' | 'character';

/** lstat(2) or fstat(2), nothing lost. */
export interface FileStatus {
  readonly kind: FileKind;
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly device: bigint;
  readonly inode: bigint;
  readonly linkCount: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly modifiedAt: Instant;
  readonly accessedAt: Instant;
  readonly changedAt: Instant;
  /** 512-byte blocks. */
  readonly blocks: number;
}

export interface FileOperations {
  /** Does not follow a final symlink. Errors: NotFound. */
  lstat(path: string): FileStatus;
  /** Nanosecond times, not following a final symlink (utimensat(2)). */
  setTimes(path: string, accessedAt: Instant, modifiedAt: Instant): void;
  makeDevice(path: string, kind: 'block' | 'character', mode: number, major: number, minor: number): void;
  /** mkfifo(3); the mode is not subject to umask. */
  makeFifo(path: string, mode: number): void;
  /** Names of extended attributes, not following a final symlink; empty where there is no support. */
  listXattrs(path: string): string[];
  getXattr(path: string, name: string): Buffer | undefined;
  setXattr(path: string, name: string, value: Uint8Array): void;
  removeXattr(path: string, name: string): void;
  /** Ranges with data, by SEEK_DATA; the whole file where the file system cannot tell. */
  dataRanges(fd: number, sizeBytes: number): { offset: number; lengthBytes: number }[];
  /**
   * syncfs(2) of the file system that holds `path`, off this thread; on the twin fsync of everything below `path`.
   * When it resolves, what was written there before the call survives a power cut. Errors: NotFound.
   */
  syncFileSystem(path: string): Promise<void>;
  /**
   * Tells the file system that the directories to come in `path` have nothing to do with each other, so that it puts
   * them apart (chattr(1), T). Only a hint: no error where there is none.
   */
  spreadChildren(path: string): void;
  /**
   * Takes an exclusive advisory lock on the file (flock(2)), made with mode 0600 if absent; undefined when another
   * process holds it. The kernel drops it with the process.
   */
  tryLock(path: string): Disposable | undefined;
  /**
   * Confines this worker thread: its own file system context (unshare(CLONE_FS)), then chroot(2) and chdir to `/`.
   * For ever, so only in a worker that is thrown away, and only after libuv's pool was started by the main thread.
   */
  confineThread(root: string): void;
  /** Opens a FIFO; `nonBlocking` for a reader or when the other end is known to be there. */
  openFifo(path: string, access: 'read' | 'write' | 'read-write', options: { nonBlocking: boolean }): number;
  /** Free and total bytes of the file system that holds `path`. */
  diskSpace(path: string): { freeBytes: number; totalBytes: number };
}

/** One line of /proc/self/mountinfo. */
export interface MountInfo {
  readonly id: number;
  readonly parentId: number;
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  readonly fileSystemType: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

export interface MountOperations {
  /** Mounts by mount(8) option words ("ro", "bind", "rbind", "nosuid", …, the rest as data). `target` must exist. */
  mount(mount: Mount, target: string): void;
  /** Not an error when nothing is mounted there. `lazy` is MNT_DETACH. Never follows a symlink. */
  unmount(target: string, options?: { lazy?: boolean }): void;
  /** Unmounts everything stacked on `target` and below it. */
  unmountAll(target: string, options?: { lazy?: boolean }): void;
  list(): MountInfo[];
}

/** A file as a block device. Disposing closes it here; it stays attached while it is in use, or after `keep`. */
export interface LoopDevice extends Disposable {
  /** `/dev/loopN`. */
  readonly path: string;
  /** Stays attached until `detach`, whoever has it open. */
  keep(): void;
}

/** loop(4). */
export interface LoopOperations {
  /**
   * `file` is not followed when it is a symlink. `tag` says whose device it is (its last 63 bytes; the path of the file
   * when absent). Errors: NotFound, ResourceExhausted.
   */
  attach(file: string, options: { readOnly: boolean; tag?: string }): LoopDevice;
  /** False, and nothing done, when it does not carry the tag. Errors: InvalidArgument (no loop device). */
  detach(device: string, tag: string): boolean;
  isAttached(device: string, tag: string): boolean;
}

export type StdioTarget = number | 'null';

export interface SpawnRequest {
  /** Absolute path or a name looked up on PATH of `env`. No shell is ever involved. */
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env: Readonly<Record<string, string>>;
  /** fd N of the child is entry N; more than three entries are passed on as 3, 4, …. Owned by the caller. */
  readonly stdio: readonly StdioTarget[];
  /** Own process group (POSIX_SPAWN_SETPGROUP) so that signals to ours do not reach it. */
  readonly newProcessGroup?: boolean;
  /** Own session. */
  readonly newSession?: boolean;
}

/** How a process ended. `status` is the exit code, or 128 + signal, as runtimes report it. */
export interface ProcessExit {
  readonly pid: number;
  readonly status: number;
  readonly exitedAt: Instant;
}

export interface ProcessOperations {
  /** posix_spawn(3); the child is reaped through `exited` only. Errors: NotFound when the file is absent. */
  spawn(request: SpawnRequest): number;
  /**
   * Resolves when the child `pid` (spawned here, or adopted as a subreaper) has ended, and reaps it. Any number of
   * callers get the same answer; must be asked before or soon after the exit: an exit that nobody asked for is kept
   * for those who ask later only for children made by `spawn` or announced by `adopt`.
   */
  exited(pid: number): Promise<ProcessExit>;
  /** Registers a process that will become our child (runc's container init), so that its exit is kept. */
  adopt(pid: number): void;
  /**
   * Exit of a process that is not our child, by the pidfd that `pin` mounted on that file or else by a new one;
   * undefined where the kernel does not keep the status.
   */
  foreignExited(
    pid: number,
    options: { signal: AbortSignal; pin?: string },
  ): Promise<ProcessExit | undefined>;
  /**
   * Keeps the exit status of a running process readable by `foreignExited`, after it is reaped and when nobody who
   * watched it lives any more: its pidfd is mounted on the file `path`, which is made. Unmounting lets go.
   * False where the kernel cannot (before Linux 6.15) or the process is gone.
   */
  pin(pid: number, path: string): boolean;
  /** kill(2). Errors: NotFound (ESRCH), PermissionDenied. Negative pid is a group. */
  kill(pid: number, signal: number): void;
  isAlive(pid: number): boolean;
  /** PR_SET_CHILD_SUBREAPER for this process. */
  becomeSubreaper(): void;
  /** Clamped to what we may do; returns what was set. */
  setOomScoreAdjust(pid: number, score: number): number;
  /** Start time in clock ticks since boot (/proc/PID/stat field 22), to tell a pid from its reuse. */
  startTicks(pid: number): bigint | undefined;
  /**
   * Every process of this pid namespace. This and the next ones are looks at other processes, as old as their answer:
   * one that is gone, or not ours to look at, tells nothing. Nor does the portable twin.
   */
  list(): number[];
  /** Direct children, of all threads of `pid`. */
  children(pid: number): number[];
  /** The words of its command line. */
  arguments(pid: number): string[];
  /** What it was started with, as NAME=value. */
  environment(pid: number): string[];
  workingDirectory(pid: number): string | undefined;
  /** Leads a process group of its own, so that `-pid` names all of it. */
  isGroupLeader(pid: number): boolean;
}

/** Runs a program to its end and keeps what it printed, both streams bounded. */
export interface CommandResult {
  readonly status: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Pipes that are emptied without their bytes being in nobody's hands (pipe(7), splice(2)). */
export interface PipeOperations {
  /**
   * Moves up to `sizeBytes` from a non-blocking pipe to `offset` of a file, in the kernel: whatever kills the caller, each
   * byte is in one of the two. Returns how many, 0 at the end of the pipe, undefined when nothing is there now.
   * Errors: InvalidArgument when the file system cannot.
   */
  moveToFile(pipeFd: number, fileFd: number, offset: number, sizeBytes: number): number | undefined;
  /** Calls back whenever there is something to read, or the end, after each `arm`. */
  watchReadable(fd: number, onReadable: () => void): PipeWatch;
  /** F_SETPIPE_SZ. Only a hint: no error where it is not granted. */
  setCapacity(fd: number, sizeBytes: number): void;
  /** Gives the room of a range of a file back; it reads as zeros (fallocate(2)). False where the file system cannot. */
  freeRange(fd: number, offset: number, sizeBytes: number): boolean;
}

export interface PipeWatch extends Disposable {
  /** Tells once. Does nothing while it is armed. */
  arm(): void;
}

export interface TerminalOperations {
  /** A pty pair; both descriptors belong to the caller. */
  open(): { masterFd: number; workerFd: number };
  /** Receives one descriptor over SCM_RIGHTS from the connected unix socket `fd` (console sockets of runc). */
  receiveDescriptor(fd: number): number;
  /**
   * Listens on a fresh unix socket at `path` (mode 0600) and resolves with the first descriptor that a peer sends.
   */
  consoleSocket(path: string): Promise<ConsoleSocket>;
  resize(fd: number, size: TerminalSize): void;
  size(fd: number): TerminalSize;
  /** O_NONBLOCK on the open file behind the descriptor, for everybody who has it. */
  setNonBlocking(fd: number): void;
  /** cfmakeraw on the descriptor; dispose restores it. */
  makeRaw(fd: number): Disposable;
}

export interface ConsoleSocket extends AsyncDisposable {
  readonly path: string;
  /** Resolves with the pty master; it belongs to the caller. */
  receive(options: { signal: AbortSignal }): Promise<number>;
}

export interface MemoryOperations {
  /**
   * Gives memory that this process holds for later back to the kernel. Takes some milliseconds, and what is needed
   * again costs a little more the next time: for a process at rest (rest.ts).
   */
  release(): void;
}

export interface SocketOperations {
  /** SO_PEERCRED of a connected unix socket. */
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };
  /**
   * One datagram to the unix socket at `path`; a leading `@` is an abstract name. Does not wait.
   * Errors: NotFound, Unavailable when the receiver is full or gone.
   */
  sendDatagram(path: string, bytes: Uint8Array): void;
}

export interface CgroupOperations {
  /**
   * Calls back each time the kernel says that something about memory happened in the cgroup that has `file`:
   * `memory.oom_control` of version 1, `memory.events` of version 2. What happened stands in the file. Also called
   * when the cgroup goes; does not keep the event loop alive. Errors: NotFound, ResourceExhausted.
   */
  watchMemory(file: string, onEvent: () => void): Disposable;
}

/** One line of /proc/PID/uid_map (user_namespaces(7)). */
export interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

/** A user namespace to be made with these mappings, and pinned on the file `path`. */
export interface UserNamespaceRequest {
  readonly path: string;
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

/**
 * Namespaces without a process in them: each is kept by a bind mount of its nsfs file (namespaces(7)). None of these
 * calls leaves a thread of this process in another namespace.
 */
export interface NamespaceOperations {
  /**
   * A new network namespace, with its loopback interface down, pinned on the file `path`; with `user`, it belongs to
   * a new user namespace, which is pinned too. The files are made where they are absent; their directories must be
   * there. On failure nothing stays pinned. Errors: AlreadyExists when one is pinned there, NotFound (directory, or no
   * unshare(1) for `user`), PermissionDenied.
   */
  makeNetwork(path: string, options?: { user?: UserNamespaceRequest }): void;
  /** Whether a namespace is pinned on `path`. Never an error. */
  isPinned(path: string): boolean;
  /**
   * Takes the pin and its file away: the namespace goes with its last user. Not an error when nothing is there; a file
   * that has something in it is nobody's pin and stays.
   */
  unpin(path: string): void;
  /** Brings the loopback interface up (netdevice(7)). Errors: FailedPrecondition when nothing is pinned on `path`. */
  raiseLoopback(path: string): void;
}
