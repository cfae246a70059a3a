/**
 * RuntimeDefault: the filter of system calls (seccomp(2)) that containers get who ask for the runtime's own. Equal in
 * effect to Docker's: what is not named fails with EPERM; what a capability opens depends on the container's; no new
 * user namespaces and no AF_VSOCK sockets; clone3, whose flags a filter cannot see, fails with ENOSYS so that libraries
 * fall back on clone.
 */
import type { SpecSeccomp, SpecSyscallArgument, SpecSyscallRule } from '../../oci/runtime-spec.ts';
import { callsByArchitecture, callsByCapability, callsForAll, callsOfTracers } from './seccomp-calls.ts';
import { type HostFacts, isAtLeast } from './spec-facts.ts';

const enosys = 38;
const afVsock = 40;
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const namespaceFlags = 0x7e02_0000;
/** Linux of 64 and 32 bits, each also as UNAME26, and the question which it is: personality(2). */
const personalities = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const architectures: Readonly<Record<string, readonly string[]>> = {
  amd64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
  arm: ['SCMP_ARCH_ARM'],
  ppc64le: ['SCMP_ARCH_PPC64LE'],
  s390x: ['SCMP_ARCH_S390X', 'SCMP_ARCH_S390'],
  riscv64: ['SCMP_ARCH_RISCV64'],
};

/** `capabilities` is the container's bounding set. */
export function defaultSeccomp(
  capabilities: readonly string[],
  { kernel, architecture }: Pick<HostFacts, 'kernel' | 'architecture'>,
): SpecSeccomp {
  const admin = capabilities.includes('CAP_SYS_ADMIN');
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: architectures[architecture] ?? [],
    syscalls: [
      allow(callsForAll),
      allow(['socket'], { index: 0, value: afVsock, op: 'SCMP_CMP_NE' }),
      ...personalities.map((value) => allow(['personality'], { index: 0, value, op: 'SCMP_CMP_EQ' })),
      ...(isAtLeast(kernel, 4, 8) ? [allow(callsOfTracers)] : []),
      ...some(callsByArchitecture[architecture]),
      ...capabilities.flatMap((name) => some(callsByCapability[name])),
      ...(admin ? [] : withoutNamespaces(architecture)),
    ],
  };
}

function withoutNamespaces(architecture: string): SpecSyscallRule[] {
  const flagsAt = architecture === 's390x' ? 1 : 0;
  return [
    // Masked by `value`, what is left must be `valueTwo`: none of the flags.
    allow(['clone'], { index: flagsAt, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }),
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: enosys },
  ];
}

const allow = (names: readonly string[], argument?: SpecSyscallArgument): SpecSyscallRule => ({
  names,
  action: 'SCMP_ACT_ALLOW',
  ...(argument && { args: [argument] }),
});
const some = (names: readonly string[] | undefined): SpecSyscallRule[] =>
  names === undefined ? [] : [allow(names)];
