/** Which containers ask for one shim, by the annotations of their runtime specs; as containerd's runc shim reads them. */

/** In this order: containerd's own annotation, then the pod's. */
const groupAnnotations = ['io.containerd.runc.v2.group', 'io.kubernetes.cri.sandbox-id'] as const;

/** Name of the group, unique within a namespace; undefined for a container that names none. */
export function shimGroupName(annotations: Readonly<Record<string, unknown>>): string | undefined {
  for (const name of groupAnnotations) {
    const group = annotations[name];
    if (typeof group === 'string' && group !== '') return group;
  }
  return undefined;
}
