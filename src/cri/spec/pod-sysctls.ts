/**
 * Kernel settings of a pod's namespaces (sysctl(8)): its own, and two that let unprivileged processes bind low ports and
 * send pings. Only settings that belong to a namespace of the pod may be set; others would be the machine's.
 */
import { invalidArgument } from '../../base/errors.ts';
import { isOnHost, type NamespaceWords } from './namespaces.ts';
import type { SpecSettings } from './spec-facts.ts';

const ipcNames = new Set(
  ['msgmax', 'msgmnb', 'msgmni', 'sem', 'shmall', 'shmmax', 'shmmni', 'shm_rmid_forced'].map(
    (name) => `kernel.${name}`,
  ),
);

export interface SysctlContext {
  readonly namespaces: NamespaceWords | undefined;
  readonly hasUserNamespace: boolean;
  readonly settings: Pick<SpecSettings, 'enableUnprivilegedPorts' | 'enableUnprivilegedIcmp'>;
}

/** Errors: InvalidArgument for a setting of the machine, or of a namespace that the pod shares with it. */
export function podSysctls(
  own: Readonly<Record<string, string>>,
  { namespaces, hasUserNamespace, settings }: SysctlContext,
): Readonly<Record<string, string>> {
  const given = Object.entries(own).map(([name, value]) => [dotted(name), value] as const);
  for (const [name] of given) checkSysctl(name, namespaces);
  const network = !isOnHost(namespaces?.network);
  return {
    ...(network && settings.enableUnprivilegedPorts && { 'net.ipv4.ip_unprivileged_port_start': '0' }),
    ...(network &&
      settings.enableUnprivilegedIcmp &&
      !hasUserNamespace && { 'net.ipv4.ping_group_range': '0 2147483647' }),
    ...Object.fromEntries(given),
  };
}

/** sysctl(8): where the first separator is "/", both have changed places. */
function dotted(name: string): string {
  const separator = /[./]/.exec(name)?.[0];
  if (separator !== '/') return name;
  return name.replace(/[./]/g, (mark) => (mark === '/' ? '.' : '/'));
}

function checkSysctl(name: string, namespaces: NamespaceWords | undefined): void {
  // A "/" stands for a "." inside a part, as in the name of an interface.
  const parts = name.split('.');
  if (parts.length < 2 || !parts.every((part) => /^[A-Za-z0-9_:-]+(?:\/[A-Za-z0-9_:-]+)*$/.test(part)))
    throw invalidArgument(`sysctl ${JSON.stringify(name)} is no name of one`);
  if (name.startsWith('net.')) return refuseOnHost(name, 'network', namespaces?.network);
  if (ipcNames.has(name) || name.startsWith('fs.mqueue.')) return refuseOnHost(name, 'ipc', namespaces?.ipc);
  if (name === 'kernel.hostname' || name === 'kernel.domainname')
    return refuseOnHost(name, 'uts', namespaces?.network);
  throw invalidArgument(`sysctl ${JSON.stringify(name)} is the whole machine’s, and not for a pod to set`);
}

function refuseOnHost(name: string, kind: string, mode: NamespaceWords['network'] | undefined): void {
  if (isOnHost(mode))
    throw invalidArgument(
      `sysctl ${JSON.stringify(name)} is not allowed: the pod is in the ${kind} namespace of the host`,
    );
}
