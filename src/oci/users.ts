/**
 * Who a container's process is: the image's or the user's words (`www-data`, `1000:1000`, `app:staff`) against the
 * passwd(5) and group(5) text of its root file system. That text is the image's, so lines that do not parse are
 * skipped and never believed by halves.
 */
import { invalidArgument, notFound } from '../base/errors.ts';
import type { SpecUser } from './runtime-spec.ts';

const highestId = 0xffff_fffe;

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}
interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * `text` is `user[:group]`, each a name or a number; "" is root. The passwd and group texts are "" when the file is
 * absent. Numbers need no entry; the primary group of a number without one is 0. Supplementary groups are those that
 * list the user, unless a group was given. Errors: InvalidArgument (form), NotFound (name).
 */
export function resolveUser(text: string, passwd: string, group: string): SpecUser {
  const [user = '', groupText, ...more] = text.split(':');
  if (more.length > 0) throw invalidArgument(`user ${JSON.stringify(text)} must be USER or USER:GROUP`);
  const entries = parsePasswd(passwd);
  const groups = parseGroup(group);
  const entry = findUser(user === '' ? '0' : user, entries);
  if (groupText !== undefined && groupText !== '')
    return withGroups(entry.uid, findGroup(groupText, groups), []);
  const additional = groups.filter(({ members }) => entry.name !== '' && members.includes(entry.name));
  return withGroups(
    entry.uid,
    entry.gid,
    additional.map(({ gid }) => gid),
  );
}

/** The groups that list the user of this number, by its first entry; none without an entry. */
export function groupsListing(uid: number, passwd: string, group: string): number[] {
  const name = parsePasswd(passwd).find((entry) => entry.uid === uid)?.name;
  if (name === undefined) return [];
  return parseGroup(group).flatMap(({ gid, members }) => (members.includes(name) ? [gid] : []));
}

function withGroups(uid: number, gid: number, additional: readonly number[]): SpecUser {
  // The primary group leads the supplementary ones: groups that deny access must keep doing so (CVE-2023-25173).
  return { uid, gid, additionalGids: [...new Set([gid, ...additional])] };
}

function findUser(user: string, entries: readonly PasswdEntry[]): PasswdEntry {
  const byName = entries.find(({ name }) => name === user);
  if (byName !== undefined) return byName;
  const uid = parseId(user);
  if (uid === undefined) throw notFound('user', user);
  return entries.find((entry) => entry.uid === uid) ?? { name: '', uid, gid: 0 };
}

function findGroup(group: string, groups: readonly GroupEntry[]): number {
  const gid = groups.find(({ name }) => name === group)?.gid ?? parseId(group);
  if (gid === undefined) throw notFound('group', group);
  return gid;
}

function parsePasswd(text: string): PasswdEntry[] {
  return fields(text).flatMap(([name = '', , uidText = '', gidText = '']) => {
    const uid = parseId(uidText);
    const gid = parseId(gidText);
    return name === '' || uid === undefined || gid === undefined ? [] : [{ name, uid, gid }];
  });
}

function parseGroup(text: string): GroupEntry[] {
  return fields(text).flatMap(([name = '', , gidText = '', members = '']) => {
    const gid = parseId(gidText);
    if (name === '' || gid === undefined) return [];
    return [{ name, gid, members: members.split(',').filter((member) => member !== '') }];
  });
}

const fields = (text: string): string[][] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));

function parseId(text: string): number | undefined {
  if (!/^[0-9]{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= highestId ? id : undefined;
}
