/**
 * Which containers share a shim of ours: all of the daemon, those of a pod, or none. A group is a directory with a
 * socket, a log and runc's state; its name is the group's. Bundles keep the address, so a changed setting concerns new
 * containers only.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { shimGroupName } from '../../../oci/shim-group.ts';

export type Sharing = 'node' | 'pod' | 'container';
export const sharings: readonly Sharing[] = ['node', 'pod', 'container'];

export interface ShimGroup {
  readonly directory: string;
  /** Cgroup that the shim itself joins; "" for the daemon's. */
  readonly cgroup: string;
  /** How long it stays when it holds nothing. */
  readonly graceMs: number;
}

/** So that containers in a row find the shim of all warm. A group of its own has no next one. */
const nodeGraceMs = 30_000;

export interface GroupMember {
  readonly namespace: string;
  readonly id: string;
  /** The runtime spec, as JSON text. */
  readonly spec: Uint8Array;
  /** Options.shim_cgroup; such a container is alone in its shim. */
  readonly shimCgroup: string;
}

export function groupOf(
  member: GroupMember,
  { sharing, baseDir }: { readonly sharing: Sharing; readonly baseDir: string },
): ShimGroup {
  const { namespace, id, shimCgroup: cgroup } = member;
  const own = (name: string): ShimGroup => ({
    directory: path.join(baseDir, directoryOf(namespace, name)),
    cgroup,
    graceMs: 0,
  });
  if (cgroup !== '' || sharing === 'container') return own(id);
  if (sharing === 'node') return nodeGroup(baseDir);
  const pod = shimGroupName(annotationsOf(member.spec));
  return own(pod === undefined ? id : `pod ${pod}`);
}

export const nodeGroup = (baseDir: string): ShimGroup => ({
  directory: path.join(baseDir, 'shim'),
  cgroup: '',
  graceMs: nodeGraceMs,
});

/** Short, for a socket's path is bounded; the same for the same group after a restart. */
function directoryOf(namespace: string, name: string): string {
  const digest = createHash('sha256').update(`${namespace}/${name}`).digest('hex');
  return `g-${digest.slice(0, 24)}`;
}

function annotationsOf(spec: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const { annotations } = JSON.parse(new TextDecoder().decode(spec)) as { annotations?: unknown };
    return typeof annotations === 'object' && annotations !== null ? { ...annotations } : {};
  } catch {
    // The runtime says what is wrong with it.
    return {};
  }
}
