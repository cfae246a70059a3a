/** Where a pod's and a container's cgroup is: below the parent that the kubelet gives, by the driver it speaks for. */
import { posix } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';

/**
 * A parent that ends in `.slice` is systemd's: `slice:prefix:name` as runc reads it. Others are paths of cgroupfs.
 * Without a parent: `/NAMESPACE/ID`. Errors: InvalidArgument when the parent leads out of the hierarchy.
 */
export function cgroupPath(parent: string, { id, namespace }: { id: string; namespace: string }): string {
  if (parent === '') return `/${namespace}/${id}`;
  if (parent.includes('\0') || parent.split('/').includes('..'))
    throw invalidArgument(`cgroup_parent ${JSON.stringify(parent)} must be a path without ".."`);
  const slice = posix.basename(parent);
  if (slice.endsWith('.slice')) return [slice, 'cri-containerd', id].join(':');
  return posix.join(parent, id);
}
