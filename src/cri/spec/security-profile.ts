/** SecurityProfile and its older form in one string (`runtime/default`, `localhost/NAME`), as one choice. */
import { invalidArgument } from '../../base/errors.ts';
import { type SecurityProfile, SecurityProfile_ProfileType } from '../../wire/gen/runtime/v1/common_pb.js';

export type ProfileChoice =
  | { readonly kind: 'default' }
  | { readonly kind: 'unconfined' }
  | { readonly kind: 'localhost'; readonly name: string };

type Words = Pick<SecurityProfile, 'profileType' | 'localhostRef'>;
const prefix = 'localhost/';

/** `what` is `seccomp` or `apparmor`; the older form counts where there is no new one. Errors: InvalidArgument. */
export function profileChoice(
  what: string,
  profile: Words | undefined,
  older: string,
): ProfileChoice | undefined {
  if (profile === undefined) return older === '' ? undefined : parseProfile(what, older);
  const { profileType, localhostRef } = profile;
  if (profileType === SecurityProfile_ProfileType.Localhost) return localhost(what, localhostRef);
  if (localhostRef !== '')
    throw invalidArgument(
      `${what}: localhost_ref ${JSON.stringify(localhostRef)} must only be set if the profile type is Localhost`,
    );
  if (profileType === SecurityProfile_ProfileType.RuntimeDefault) return { kind: 'default' };
  if (profileType === SecurityProfile_ProfileType.Unconfined) return { kind: 'unconfined' };
  throw invalidArgument(`${what}: profile type ${String(profileType)} is not known`);
}

/** Errors: InvalidArgument. */
export function parseProfile(what: string, text: string): ProfileChoice {
  if (text === 'runtime/default' || text === 'docker/default') return { kind: 'default' };
  if (text === 'unconfined') return { kind: 'unconfined' };
  if (text.startsWith(prefix)) return localhost(what, text);
  throw invalidArgument(
    `${what}: invalid profile ${JSON.stringify(text)}: use runtime/default, unconfined or localhost/NAME`,
  );
}

function localhost(what: string, ref: string): ProfileChoice {
  const name = ref.startsWith(prefix) ? ref.slice(prefix.length) : ref;
  if (name === '') throw invalidArgument(`${what}: a Localhost profile needs its name in localhost_ref`);
  return { kind: 'localhost', name };
}
