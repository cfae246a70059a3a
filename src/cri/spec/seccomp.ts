/** Which filter of system calls a container gets: its own words, else the setting's; privileged ones get none. */
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { asObject, optionalArray, optionalString, optionalStrings, parseJsonObject } from '../../oci/json.ts';
import type { SecurityProfile } from '../../wire/gen/runtime/v1/common_pb.js';
import { defaultSeccomp } from './seccomp-default.ts';
import { parseProfile, profileChoice } from './security-profile.ts';
import type { HostFacts, HostReads } from './spec-facts.ts';

export interface SeccompWords {
  readonly seccomp?: Pick<SecurityProfile, 'profileType' | 'localhostRef'> | undefined;
  readonly seccompProfilePath: string;
  readonly privileged: boolean;
}

export interface SeccompContext {
  /** The container's bounding set. */
  readonly capabilities: readonly string[];
  readonly host: Pick<HostFacts, 'seccomp' | 'kernel' | 'architecture'>;
  readonly unsetProfile: string;
  readonly readFile: HostReads['file'];
}

/** Undefined for no filter. Errors: InvalidArgument: a profile that makes no sense, or a kernel without seccomp. */
export async function seccompFilter(
  words: SeccompWords | undefined,
  { capabilities, host, unsetProfile, readFile }: SeccompContext,
): Promise<unknown> {
  if (words?.privileged === true) return undefined;
  const said = profileChoice('seccomp', words?.seccomp, words?.seccompProfilePath ?? '');
  const unset = unsetProfile === '' ? undefined : parseProfile('unset_seccomp_profile', unsetProfile);
  if (!host.seccomp) {
    if (said === undefined || said.kind === 'unconfined') return undefined;
    throw invalidArgument('seccomp is not supported by this kernel, so that a profile cannot be applied');
  }
  const choice = said ?? unset ?? { kind: 'unconfined' };
  if (choice.kind === 'unconfined') return undefined;
  if (choice.kind === 'default') return defaultSeccomp(capabilities, host);
  return parseFilter(choice.name, await read(choice.name, readFile));
}

async function read(path: string, readFile: HostReads['file']): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    const { message } = ContainerdError.from(error);
    throw invalidArgument(`cannot load seccomp profile ${JSON.stringify(path)}: ${message}`, error);
  }
}

/** The administrator's file is OCI's LinuxSeccomp; runc judges what is in it beyond this form. */
function parseFilter(path: string, bytes: Uint8Array): unknown {
  const what = `seccomp profile ${JSON.stringify(path)}`;
  const filter = parseJsonObject(bytes, what, limits.seccompProfileBytes);
  requireAction(optionalString(filter, 'defaultAction', what), `${what}: defaultAction`);
  for (const [index, entry] of (optionalArray(filter, 'syscalls', what) ?? []).entries()) {
    const where = `${what}: syscalls[${index}]`;
    const rule = asObject(entry, where);
    requireAction(optionalString(rule, 'action', where), `${where}.action`);
    if ((optionalStrings(rule, 'names', where) ?? []).length === 0)
      throw invalidArgument(`${where} must name system calls`);
  }
  return filter;
}

function requireAction(action: string | undefined, where: string): void {
  if (action === undefined || !/^SCMP_ACT_[A-Z_]+$/.test(action))
    throw invalidArgument(
      `${where} must be an action as SCMP_ACT_ERRNO, not ${JSON.stringify(action ?? '')}`,
    );
}
