/** Linux capabilities by name (capabilities(7)) and the set that containers get when nobody says otherwise. */
import { invalidArgument } from '../base/errors.ts';

const cap = (names: string): readonly string[] => names.split(' ').map((name) => `CAP_${name}`);

export const defaultCapabilities = cap(
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE',
);

/** In the order of their kernel numbers, up to CAP_CHECKPOINT_RESTORE (40). */
export const allCapabilities = cap(
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE',
);

/** `NET_ADMIN` or `cap_net_admin` as CAP_NET_ADMIN. Errors: InvalidArgument for one that does not exist. */
export function parseCapability(text: string): string {
  const upper = text.toUpperCase();
  const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!allCapabilities.includes(name))
    throw invalidArgument(`unknown capability ${JSON.stringify(text)}: see capabilities(7) for their names`);
  return name;
}

/** Capabilities that this process holds: the CapEff line of the text of /proc/self/status. */
export function parseEffectiveCapabilities(procStatus: string): readonly string[] {
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(procStatus)?.[1] ?? '0'}`);
  return allCapabilities.filter((_, number) => (mask & (1n << BigInt(number))) !== 0n);
}
