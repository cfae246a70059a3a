/** The label that says in which repositories of a registry a blob was seen, for cross-repository mounts on push. */
import { type Labels, labelOf } from '../../base/labels.ts';
import { limits } from '../../base/limits.ts';
import type { Reference } from '../../oci/reference.ts';

const labelFor = (host: string): string => `containerd.io/distribution.source.${host}`;

/** The label with the reference's repository added; undefined when it is there already or would grow too long. */
export function distributionSource(
  reference: Pick<Reference, 'host' | 'repository'>,
  labels: Labels,
): { key: string; value: string } | undefined {
  const key = labelFor(reference.host);
  const repositories = sourceRepositories(reference.host, labels);
  if (repositories.includes(reference.repository)) return undefined;
  const value = [...repositories, reference.repository].join(',');
  return key.length + value.length > limits.labelBytes ? undefined : { key, value };
}

export const sourceRepositories = (host: string, labels: Labels): string[] =>
  (labelOf(labels, labelFor(host)) ?? '').split(',').filter((repository) => repository !== '');
