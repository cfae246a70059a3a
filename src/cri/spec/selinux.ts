/**
 * SELinux labels of a process and of its files (`user:role:type:level`). The policy has a label for each; the pod's or
 * container's words replace their parts, and without a level each pod gets categories of its own, which its containers
 * share. Where SELinux is off the words are looked at and nothing is labelled, as containerd does: pods with such words
 * run on machines of both kinds.
 */
import { invalidArgument } from '../../base/errors.ts';
import type { SELinuxOption } from '../../wire/gen/runtime/v1/common_pb.js';

export interface SelinuxFacts {
  /** `process`, `file` and `kvm_process` of the policy's contexts/lxc_contexts. */
  readonly processLabel: string;
  readonly fileLabel: string;
  readonly vmProcessLabel: string;
  /** `s0:c1,c2` that no pod has yet. */
  readonly uniqueLevel: () => string;
}

/** "" for none. */
export interface SelinuxLabels {
  readonly process: string;
  readonly mount: string;
}

export interface SelinuxContext {
  readonly facts: SelinuxFacts | undefined;
  /** Of the pod, which containers without words of their own take over; "" for none. */
  readonly podLabel?: string;
  readonly vmBased: boolean;
}

type Words = Pick<SELinuxOption, 'user' | 'role' | 'type' | 'level'>;
const levelForm =
  /^s[0-9]{1,2}(?:-s[0-9]{1,2})?(?::c[0-9]{1,4}(?:\.c[0-9]{1,4})?(?:,c[0-9]{1,4}(?:\.c[0-9]{1,4})?)*)?$/;
const partForm = /^[A-Za-z0-9_.-]+$/;

/** Errors: InvalidArgument for words that cannot be parts of a label. */
export function selinuxLabels(
  words: Words | undefined,
  { facts, podLabel = '', vmBased }: SelinuxContext,
): SelinuxLabels {
  checkWords(words);
  if (facts === undefined) return { process: '', mount: '' };
  const said = words ?? { user: '', role: '', type: '', level: '' };
  const pod = isEmpty(said) && podLabel !== '' ? partsOf(podLabel) : undefined;
  const process = partsOf(vmBased ? facts.vmProcessLabel : facts.processLabel);
  const file = partsOf(facts.fileLabel);
  const level = said.level || pod?.level || facts.uniqueLevel();
  return {
    process: labelOf({
      user: said.user || pod?.user || process.user,
      role: said.role || pod?.role || process.role,
      type: said.type || pod?.type || process.type,
      level,
    }),
    mount: labelOf({ ...file, user: said.user || pod?.user || file.user, level }),
  };
}

function checkWords(words: Words | undefined): void {
  if (words === undefined) return;
  if (words.level !== '' && !levelForm.test(words.level))
    throw invalidArgument(
      `the format of selinux level ${JSON.stringify(words.level)} is not correct, as "s0:c1,c2"`,
    );
  for (const part of ['user', 'role', 'type'] as const)
    if (words[part] !== '' && !partForm.test(words[part]))
      throw invalidArgument(`selinux ${part} ${JSON.stringify(words[part])} must be a word without ":"`);
}

const isEmpty = ({ user, role, type, level }: Words): boolean => `${user}${role}${type}${level}` === '';

/** The level may contain ":" itself. */
function partsOf(label: string): Words {
  const [user = '', role = '', type = '', ...level] = label.split(':');
  return { user, role, type, level: level.join(':') };
}

const labelOf = ({ user, role, type, level }: Words): string => [user, role, type, level].join(':');
