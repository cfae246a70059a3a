/**
 * Which AppArmor profile a process gets. Who says nothing gets the runtime's own where AppArmor is on; privileged ones
 * get none unless they name one, which applies even then.
 */
import { invalidArgument } from '../../base/errors.ts';
import type { SecurityProfile } from '../../wire/gen/runtime/v1/common_pb.js';
import { profileChoice } from './security-profile.ts';
import type { HostReads } from './spec-facts.ts';

/** containerd's name for it. Who starts the container has to load it first. */
export const defaultApparmorProfile = 'cri-containerd.apparmor.d';

export interface ApparmorWords {
  readonly apparmor?: Pick<SecurityProfile, 'profileType' | 'localhostRef'> | undefined;
  readonly apparmorProfile: string;
  readonly privileged: boolean;
}

export interface ApparmorContext {
  readonly enabled: boolean;
  readonly isLoaded: HostReads['apparmorProfileLoaded'];
}

/** The profile's name; undefined for none. Errors: InvalidArgument: AppArmor is off, or does not know the profile. */
export async function apparmorProfile(
  words: ApparmorWords | undefined,
  { enabled, isLoaded }: ApparmorContext,
): Promise<string | undefined> {
  const choice = profileChoice('apparmor', words?.apparmor, words?.apparmorProfile ?? '');
  if (!enabled) {
    if (choice === undefined || choice.kind === 'unconfined') return undefined;
    throw invalidArgument('apparmor is not supported: it is off on this machine, so that no profile applies');
  }
  if (choice?.kind === 'unconfined') return undefined;
  if (choice?.kind !== 'localhost') return words?.privileged === true ? undefined : defaultApparmorProfile;
  if (await isLoaded(choice.name)) return choice.name;
  throw invalidArgument(
    `apparmor profile not found ${choice.name}: load it with apparmor_parser(8) before the container`,
  );
}
