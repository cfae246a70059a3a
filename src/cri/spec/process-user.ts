/**
 * Who the process of a container is: the kubelet's words, else the image's, against the root's passwd and group, and
 * which groups it is in by the pod's policy. Merge adds the groups that the image lists the user in; Strict does not.
 */
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import type { SpecUser } from '../../oci/runtime-spec.ts';
import { groupsListing, resolveUser } from '../../oci/users.ts';
import { type Int64Value, SupplementalGroupsPolicy } from '../../wire/gen/runtime/v1/common_pb.js';
import type { RootFile } from './spec-facts.ts';
import { parseId } from './spec-numbers.ts';

export interface UserWords {
  readonly runAsUser?: Int64Value | undefined;
  readonly runAsGroup?: Int64Value | undefined;
  readonly runAsUsername?: string;
  readonly supplementalGroups: readonly bigint[];
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
}

/** `imageUser` is "" for root. Errors: InvalidArgument, also for users and groups that the image does not know. */
export async function processUser(
  words: UserWords | undefined,
  imageUser: string,
  rootFile: RootFile,
): Promise<SpecUser> {
  const policy = words?.supplementalGroupsPolicy ?? SupplementalGroupsPolicy.Merge;
  if (policy !== SupplementalGroupsPolicy.Merge && policy !== SupplementalGroupsPolicy.Strict)
    throw invalidArgument(`supplemental_groups_policy ${String(policy)} is not known: use Merge or Strict`);
  const text = userText(words) || imageUser;
  const wished = (words?.supplementalGroups ?? []).map((gid) => parseId(gid, 'a supplemental group'));
  const [passwd, group] = await Promise.all([rootFile('/etc/passwd'), rootFile('/etc/group')]);
  const { uid, gid } = lookUp(text, passwd, group);
  const listed = policy === SupplementalGroupsPolicy.Merge ? groupsListing(uid, passwd, group) : [];
  // The primary group leads: groups that deny access must keep doing so (CVE-2022-36109, CVE-2023-25173).
  return { uid, gid, additionalGids: [...new Set([gid, ...listed, ...wished])] };
}

function userText(words: UserWords | undefined): string {
  const uid = words?.runAsUser && String(parseId(words.runAsUser.value, 'run_as_user'));
  const gid = words?.runAsGroup && String(parseId(words.runAsGroup.value, 'run_as_group'));
  const user = words?.runAsUsername || uid;
  if (user !== undefined && user.includes(':'))
    throw invalidArgument(
      `run_as_username ${JSON.stringify(user)} contains ":": give the group by run_as_group`,
    );
  if (user !== undefined) return gid === undefined ? user : `${user}:${gid}`;
  if (gid === undefined) return '';
  throw invalidArgument(
    `user group ${gid} is specified without user: set run_as_user or run_as_username too`,
  );
}

function lookUp(text: string, passwd: string, group: string): SpecUser {
  try {
    return resolveUser(text, passwd, group);
  } catch (error) {
    const { message } = ContainerdError.from(error);
    throw invalidArgument(`${message} is not in the image, which ${JSON.stringify(text)} asks for`, error);
  }
}
