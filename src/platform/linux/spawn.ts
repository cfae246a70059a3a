/**
 * posix_spawn(3): a child without a fork of our whole address space.
 *
 * The child starts with an empty signal mask and default dispositions (Node ignores SIGPIPE, which would be
 * inherited), with exactly the descriptors of `stdio`, and no shell in between.
 */
import { constants } from 'node:fs';
import { fromErrno } from '../errno.ts';
import type { SpawnRequest, StdioTarget } from '../platform.ts';
import { resolveProgram } from '../program-path.ts';
import * as libc from './libc.ts';

function must(call: string, error: number): void {
  if (error !== 0) throw fromErrno(call, '', error);
}

/**
 * Fills in dup2 actions so that child descriptor N is `stdio[N]`. A source below the number of targets might be
 * overwritten before its turn, so such sources move out of the way first.
 */
function addDescriptors(actions: Buffer, stdio: readonly StdioTarget[]): void {
  const count = stdio.length;
  let spare = Math.max(count, ...stdio.map((target) => (target === 'null' ? 0 : target + 1)));
  const moved: number[] = [];
  const sources = stdio.map((target, index) => {
    if (target === 'null' || target >= count || target === index) return target;
    must('posix_spawn_file_actions_adddup2', libc.spawnActionsDup2(actions, target, spare));
    moved.push(spare);
    spare += 1;
    return spare - 1;
  });
  for (const [index, source] of sources.entries()) {
    if (source === 'null')
      must(
        'posix_spawn_file_actions_addopen',
        libc.spawnActionsOpen(actions, index, '/dev/null', constants.O_RDWR, 0),
      );
    // dup2 onto itself clears close-on-exec here, unlike the system call.
    else must('posix_spawn_file_actions_adddup2', libc.spawnActionsDup2(actions, source, index));
  }
  // Ours are close-on-exec, but what this process inherited need not be.
  if (libc.spawnActionsCloseFrom !== undefined)
    must('posix_spawn_file_actions_addclosefrom_np', libc.spawnActionsCloseFrom(actions, count));
  else for (const fd of moved) must('posix_spawn_file_actions_addclose', libc.spawnActionsClose(actions, fd));
}

function setAttributes(attributes: Buffer, request: SpawnRequest): void {
  const signals = Buffer.alloc(libc.spawnStructureBytes);
  let flags = libc.POSIX_SPAWN_SETSIGDEF | libc.POSIX_SPAWN_SETSIGMASK;
  libc.sigemptyset(signals);
  must('posix_spawnattr_setsigmask', libc.spawnAttributesSetMask(attributes, signals));
  // Not by sigfillset(3), which leaves out glibc's own two: those would be ignored in the child.
  signals.fill(0xff);
  must('posix_spawnattr_setsigdefault', libc.spawnAttributesSetDefault(attributes, signals));
  // A new session is a new group too, and setpgid(2) is refused to a session leader.
  if (request.newSession === true) flags |= libc.POSIX_SPAWN_SETSID;
  else if (request.newProcessGroup === true) {
    flags |= libc.POSIX_SPAWN_SETPGROUP;
    must('posix_spawnattr_setpgroup', libc.spawnAttributesSetGroup(attributes, 0));
  }
  must('posix_spawnattr_setflags', libc.spawnAttributesSetFlags(attributes, flags));
}

/** The pid of the new child. Errors: NotFound, PermissionDenied (not executable), and what exec says. */
export function posixSpawn(request: SpawnRequest): number {
  const program = resolveProgram(request.file, request.env);
  const actions = Buffer.alloc(libc.spawnStructureBytes);
  const attributes = Buffer.alloc(libc.spawnStructureBytes);
  using cleanup = new DisposableStack();
  must('posix_spawn_file_actions_init', libc.spawnActionsInit(actions));
  cleanup.defer(() => libc.spawnActionsDestroy(actions));
  must('posix_spawnattr_init', libc.spawnAttributesInit(attributes));
  cleanup.defer(() => libc.spawnAttributesDestroy(attributes));
  if (request.cwd !== undefined)
    must('posix_spawn_file_actions_addchdir_np', libc.spawnActionsChdir(actions, request.cwd));
  addDescriptors(actions, request.stdio);
  setAttributes(attributes, request);
  const pid = Buffer.alloc(8);
  const args = [request.file, ...request.args, null];
  const env = [...Object.entries(request.env).map(([name, value]) => `${name}=${value}`), null];
  const error = libc.posixSpawn(pid, program, actions, attributes, args, env);
  if (error !== 0) throw fromErrno('posix_spawn', program, error);
  return pid.readInt32LE(0);
}
