/**
 * Names of containers. containerd knows only ids, so the name is a label, and its uniqueness is ours: whoever
 * finds, after creating, that an older container has the name, gives up. Both of two rivals see both; one yields.
 */
import type { ContainerRecord, GantryClient } from '../client/index.ts';
import { CliFailure, usage } from './failure.ts';

export const nameLabel = 'gantry.io/name';
/** nerdctl's, so that its containers have their names here too. */
const otherNameLabel = 'nerdctl/name';

/** Where the output of a detached container goes: a `file://` URI. */
export const logLabel = 'gantry.io/log-uri';

export const nameOf = ({ labels }: Pick<ContainerRecord, 'labels'>): string =>
  labels[nameLabel] ?? labels[otherNameLabel] ?? '';

export const shortId = (id: string): string => (/^[0-9a-f]{64}$/.test(id) ? id.slice(0, 12) : id);

/** What people call it: its name, else its short id. */
export const callName = (container: ContainerRecord): string => nameOf(container) || shortId(container.id);

export function checkName(name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(name))
    throw usage(
      `--name ${JSON.stringify(name)} cannot be a name`,
      'use up to 63 letters, digits, "_", "." and "-", and begin with a letter or digit',
    );
}

const quoted = (text: string): string => JSON.stringify(text);

/** Throws when another, older container has the name. `own` is the id of ours, "" before it is made. */
export async function assertNameFree(gantry: GantryClient, name: string, own: string): Promise<void> {
  const holders = await gantry.containers.list([`labels.${quoted(nameLabel)}==${quoted(name)}`]);
  const ours = holders.find(({ id }) => id === own);
  const older = holders.find(
    (other) =>
      other.id !== own &&
      (ours === undefined ||
        other.createdAt < ours.createdAt ||
        (other.createdAt === ours.createdAt && other.id < ours.id)),
  );
  if (older !== undefined)
    throw new CliFailure(`name ${quoted(name)} is in use by container ${shortId(older.id)}`, {
      exitCode: 125,
      hint: `choose another name, or remove that container: gantry rm -f ${name}`,
    });
}

/** The one that is meant by an id, a name or a unique beginning of an id. */
export async function findContainer(gantry: GantryClient, text: string): Promise<ContainerRecord> {
  const found = await maybeFindContainer(gantry, text);
  if (found !== undefined) return found;
  throw new CliFailure(`no container ${quoted(text)} in namespace ${quoted(gantry.namespace)}`, {
    hint: 'gantry ps -a lists them; others may be in another namespace (gantry -n NAME ps -a)',
  });
}

export async function maybeFindContainer(
  gantry: GantryClient,
  text: string,
): Promise<ContainerRecord | undefined> {
  const containers = await gantry.containers.list();
  const exact =
    containers.find((each) => each.id === text) ?? containers.find((each) => nameOf(each) === text);
  if (exact !== undefined) return exact;
  const matches = text === '' ? [] : containers.filter((each) => each.id.startsWith(text));
  if (matches.length > 1)
    throw new CliFailure(`${quoted(text)} is the beginning of ${matches.length} container ids`, {
      hint: `give more of it: ${matches
        .slice(0, 4)
        .map(({ id }) => id.slice(0, text.length + 6))
        .join(', ')}`,
    });
  return matches[0];
}
