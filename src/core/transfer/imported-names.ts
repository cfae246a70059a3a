/** Which names an imported image gets: by its annotations, and what the caller said of prefixes and digests. */
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageReferenceRule } from './transfer.ts';

/**
 * A full name comes from `io.containerd.image.name`, or from `org.opencontainers.image.ref.name` with the prefix before
 * a bare tag; one that does not begin with the prefix counts only where the rule allows that. containerd's rules, so
 * that its `ctr import` names the same.
 */
export function importedNames(target: Descriptor, rules: readonly ImageReferenceRule[]): readonly string[] {
  const names = rules.flatMap((rule) => {
    const byDigest = rule.addDigest ? [`${rule.name}@${target.digest}`] : [];
    if (!rule.isPrefix) return rule.addDigest ? byDigest : [rule.name];
    const name = annotatedName(target, rule);
    if (name === '') return byDigest;
    return rule.skipNamedDigest ? [name] : [name, ...byDigest];
  });
  return [...new Set(names)];
}

function annotatedName({ annotations = {} }: Descriptor, rule: ImageReferenceRule): string {
  const { name: prefix, allowOverwrite } = rule;
  const name =
    annotations['io.containerd.image.name'] || annotations['org.opencontainers.image.ref.name'] || '';
  if (/[/:@]/.test(name)) return allowOverwrite || hasPrefix(name, prefix) ? name : '';
  return name === '' || prefix === '' ? '' : `${prefix}:${name}`;
}

const hasPrefix = (name: string, prefix: string): boolean =>
  name.startsWith(prefix) && (name.length === prefix.length || /[/:@]/.test(name[prefix.length] ?? ''));
