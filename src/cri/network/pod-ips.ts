/** Which of the addresses that plugins gave a pod are the pod's own, and which one it is known by. */
import type { CniResult } from './cni-result.ts';

/** `ip_pref` of the settings: the first address of a family, or the first one that plugins told. */
export type IpPreference = 'ipv4' | 'ipv6' | 'cni';

/**
 * Addresses of the interface, in the order that plugins told them; the pod's own is moved to the front. An address
 * that names no interface is taken for it.
 */
export function podIps({ interfaces, ips }: CniResult, ifName: string, preference: IpPreference): string[] {
  const own = ips.filter(({ interface: index }) => index === undefined || interfaces[index]?.name === ifName);
  const family = preference === 'ipv6' ? 6 : 4;
  const preferred = preference === 'cni' ? undefined : own.find((ip) => ip.family === family);
  const first = preferred ?? own[0];
  return first === undefined
    ? []
    : [first.address, ...own.filter((ip) => ip !== first).map(({ address }) => address)];
}
