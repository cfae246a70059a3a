/** Which names an imported image gets: by its annotations, and what the caller said of prefixes and digests. */
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageReferenceRule } from './transfer.ts';

/**
 * A full name comes from `io.containerd.image.name`, or from `org.opencontainers.image.ref.name` with the prefix before
 * a bare tag. containerd's rules, so that its `ctr import` names the same.
 */
export function importedNames(target: Descriptor, rules: readonly ImageReferenceRule[]): readonly string[] {
  const names = rules.flatMap((rule) => {
    if (!rule.isPrefix) return rule.addDigest ? [`${rule.name}@${target.digest}`] : [rule.name];
    const name = annotatedName(target, rule);
    if (!rule.addDigest) return name === '' ? [] : [name];
    return rule.skipNamedDigest && name !== '' ? [] : [`${rule.name}@${target.digest}`];
  });
  return [...new Set(names)];
}

function annotatedName(
  { annotations = {} }: Descriptor,
  { name: prefix, allowOverwrite }: ImageReferenceRule,
): string {
  const full = annotations['io.containerd.image.name'] ?? '';
  if (full !== '') return full;
  const tag = annotations['org.opencontainers.image.ref.name'] ?? '';
  if (tag === '') return '';
  if (/[/:@]/.test(tag)) return allowOverwrite || hasPrefix(tag, prefix) ? tag : '';
  return prefix === '' ? '' : `${prefix}:${tag}`;
}

const hasPrefix = (name: string, prefix: string): boolean =>
  name.startsWith(prefix) && (name.length === prefix.length || /[/:@]/.test(name[prefix.length] ?? ''));
