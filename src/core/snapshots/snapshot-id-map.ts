/**
 * The ids that a snapshot's owners are shifted by for a user namespace, as clients ask for it by the labels
 * `containerd.io/snapshot/uidmapping` and `gidmapping`: `CONTAINER:HOST:SIZE[,…]` each.
 *
 * Unlike containerd, which also takes one of the two and ranges that no kernel does, and lets the mount fail.
 */
import { invalidArgument } from '../../base/errors.ts';
import { type Labels, labelOf } from '../../base/labels.ts';

const uidLabel = 'containerd.io/snapshot/uidmapping';
const gidLabel = 'containerd.io/snapshot/gidmapping';

/** The kernel's no-id, (uid_t) -1; user_namespaces(7). */
const noId = 2 ** 32 - 1;

interface IdRange {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export interface SnapshotIdMap {
  /** As the labels have it. */
  readonly uidMap: string;
  readonly gidMap: string;
  /** Host ids of the container's root. */
  readonly root: Owner;
  /** Host ids of an owner in the image; the container's root for ids that have no place in the container. */
  toHost(owner: Owner): Owner;
}

/** Undefined when the labels ask for none. Errors: InvalidArgument. */
export function idMapOf(labels: Labels): SnapshotIdMap | undefined {
  const [uidMap, gidMap] = [labelOf(labels, uidLabel), labelOf(labels, gidLabel)];
  if (uidMap === undefined && gidMap === undefined) return undefined;
  if (uidMap === undefined || gidMap === undefined)
    throw invalidArgument(`a snapshot with shifted ids needs both labels, ${uidLabel} and ${gidLabel}`);
  const [uids, gids] = [parseRanges(uidLabel, uidMap), parseRanges(gidLabel, gidMap)];
  const root = { uid: rootOf(uidLabel, uids), gid: rootOf(gidLabel, gids) };
  return {
    uidMap,
    gidMap,
    root,
    toHost: ({ uid, gid }) => ({ uid: hostId(uids, uid) ?? root.uid, gid: hostId(gids, gid) ?? root.gid }),
  };
}

function parseRanges(label: string, text: string): IdRange[] {
  return text.split(',').map((range) => {
    const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(range);
    const [container = 0, host = 0, size = 0] = match?.slice(1).map(Number) ?? [];
    if (size === 0 || container + size > noId || host + size > noId)
      throw invalidArgument(`label ${label}: ${JSON.stringify(range)} is not CONTAINER:HOST:SIZE of 32 bits`);
    return { container, host, size };
  });
}

function rootOf(label: string, ranges: readonly IdRange[]): number {
  const id = hostId(ranges, 0);
  if (id === undefined) throw invalidArgument(`label ${label} has no host id for the container's root, 0`);
  return id;
}

function hostId(ranges: readonly IdRange[], id: number): number | undefined {
  const range = ranges.find(({ container, size }) => id >= container && id < container + size);
  return range === undefined ? undefined : range.host + (id - range.container);
}
