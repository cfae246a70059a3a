/**
 * `mkfs/`: a file with an empty file system in it, made when it is not there yet. Options: `X-containerd.mkfs.size=`
 * (needed; `64MiB`, powers of 1024), `.fs=` (ext2, ext3, ext4, xfs; ext4 when absent), `.uuid=`. Below the allowed roots.
 *
 * The file has its name only when it is whole: `kill -9` in between leaves a temporary one, which the next try replaces.
 * containerd formats it in place and takes a half-made one for whole.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { failedPrecondition, hasCode, invalidArgument, unimplemented, unknown } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import { runCommand } from '../../platform/command.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { ProcessOperations } from '../../platform/platform.ts';
import { syncDirectory } from '../../platform/sync-directory.ts';
import { openConfined } from './confined.ts';
import { type Transform, takeOptions } from './transform.ts';

const prefix = 'X-containerd.mkfs.';
const fileSystems = ['ext2', 'ext3', 'ext4', 'xfs'] as const;
type FileSystem = (typeof fileSystems)[number];
const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const unitBytes: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

interface Wanted {
  readonly sizeBytes: number;
  readonly fileSystem: FileSystem;
  readonly uuid: string | undefined;
}

export interface MakeFileSystemDependencies {
  readonly processes: Pick<ProcessOperations, 'spawn' | 'exited' | 'kill'>;
}

/** One at a time: the same file may be asked for by two at once, under two names of its directory. */
const making = new KeyedLock();

export const makeFileSystem =
  ({ processes }: MakeFileSystemDependencies, roots: readonly string[]): Transform =>
  async (mount, _active, { signal }) => {
    const { taken, left } = takeOptions(mount.options, prefix);
    const wanted = parse(taken);
    using entry = openConfined(roots, mount.source, 'mkfs');
    using _turn = await making.acquire('', { signal });
    if (!isThere(entry.path, mount.source)) await make(processes, entry.path, wanted, signal);
    return { ...mount, options: left };
  };

/** Errors: InvalidArgument. */
function parse(options: readonly string[]): Wanted {
  let sizeBytes: number | undefined;
  let fileSystem: FileSystem | undefined;
  let uuid: string | undefined;
  for (const option of options) {
    const [key, value] = [option.split('=', 1)[0], option.slice(option.indexOf('=') + 1)];
    if (key === 'size') sizeBytes = parseSize(value);
    else if (key === 'fs') fileSystem = parseFileSystem(value);
    else if (key === 'uuid' && uuidForm.test(value)) uuid = value;
    else if (key === 'uuid') throw invalidArgument(`mkfs uuid ${JSON.stringify(value)} is none`);
    else throw invalidArgument(`unknown mount option ${prefix}${key}`);
  }
  if (sizeBytes === undefined)
    throw invalidArgument(`mkfs requires the option ${prefix}size, as in ${prefix}size=64MiB`);
  return { sizeBytes, fileSystem: fileSystem ?? 'ext4', uuid };
}

function parseSize(text: string): number {
  const match = /^(?<count>\d{1,15}(?:\.\d{1,6})?) ?(?<unit>[kmgt]?)i?b?$/i.exec(text);
  const unit = unitBytes[(match?.groups?.['unit'] ?? '').toLowerCase()] ?? 1;
  const sizeBytes = Math.floor(Number(match?.groups?.['count'] ?? Number.NaN) * unit);
  if (!(sizeBytes > 0) || sizeBytes > limits.mkfsBytes)
    throw invalidArgument(`mkfs size ${JSON.stringify(text)} is not from 1 to ${limits.mkfsBytes} bytes`);
  return sizeBytes;
}

function parseFileSystem(text: string): FileSystem {
  const found = fileSystems.find((each) => each === text);
  if (found === undefined)
    throw invalidArgument(`unsupported filesystem ${JSON.stringify(text)}: one of ${fileSystems.join(', ')}`);
  return found;
}

/** Errors: FailedPrecondition when it is no regular file. */
function isThere(path: string, shown: string): boolean {
  const status = withNodeErrors(() => lstatSync(path, { throwIfNoEntry: false }));
  if (status === undefined) return false;
  if (!status.isFile())
    throw failedPrecondition(`mkfs backing file ${shown} exists and is not a regular file`);
  return true;
}

async function make(
  processes: MakeFileSystemDependencies['processes'],
  path: string,
  { sizeBytes, fileSystem, uuid }: Wanted,
  signal: AbortSignal,
): Promise<void> {
  const temporary = `${path}.mkfs`;
  using cleanup = new DisposableStack();
  withNodeErrors(() => rmSync(temporary, { force: true }));
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const fd = withNodeErrors(() => openSync(temporary, flags, 0o640));
  cleanup.defer(() => closeSync(fd));
  cleanup.defer(() => rmSync(temporary, { force: true }));
  withNodeErrors(() => ftruncateSync(fd, sizeBytes));
  const identity = uuid === undefined ? [] : fileSystem === 'xfs' ? ['-m', `uuid=${uuid}`] : ['-U', uuid];
  // Ours, not the child's: the descriptor stays open as long as the program runs.
  const file = `/proc/${process.pid}/fd/${fd}`;
  const { status, stderr } = await run(processes, `mkfs.${fileSystem}`, ['-q', ...identity, file], signal);
  if (status !== 0)
    throw unknown(
      `mkfs.${fileSystem} failed with ${status}: ${stderr.toString('utf8').trim().slice(0, 1000)}`,
    );
  withNodeErrors(() => {
    fsyncSync(fd);
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  });
}

async function run(
  processes: MakeFileSystemDependencies['processes'],
  file: string,
  args: readonly string[],
  signal: AbortSignal,
): ReturnType<typeof runCommand> {
  const env = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };
  try {
    return await runCommand(processes, { file, args, env, signal });
  } catch (error) {
    if (hasCode(error, 'NotFound')) throw unimplemented(`there is no ${file} on this machine: install it`);
    throw error;
  }
}
