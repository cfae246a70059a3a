/**
 * LinuxContainerResources as the spec's: 0 and "" are "not given". Without a limit for swap, memory and swap together
 * get the limit of memory, so that a container does not swap; where the kernel does not count swap, nothing is said.
 * For creations and updates alike.
 */
import { invalidArgument } from '../../base/errors.ts';
import type { SpecResources } from '../../oci/runtime-spec.ts';
import type { HugepageLimit, LinuxContainerResources } from '../../wire/gen/runtime/v1/common_pb.js';
import type { HostFacts, SpecSettings } from './spec-facts.ts';
import { toNumber } from './spec-numbers.ts';

export interface ResourceContext {
  readonly host: Pick<HostFacts, 'hugetlbController' | 'swapController' | 'unifiedCgroups'>;
  readonly settings: Pick<SpecSettings, 'tolerateMissingHugetlbController' | 'disableHugetlbController'>;
}

type Words = Omit<LinuxContainerResources, '$typeName'>;

/** Errors: InvalidArgument. */
export function containerResources(words: Words | undefined, context: ResourceContext): SpecResources {
  if (words === undefined) return {};
  const cpu = cpuOf(words);
  const memory = memoryOf(words, context.host);
  const hugepageLimits = hugepages(words.hugepageLimits, context);
  return {
    ...(Object.keys(cpu).length > 0 && { cpu }),
    ...(Object.keys(memory).length > 0 && { memory }),
    ...(hugepageLimits.length > 0 && { hugepageLimits }),
    ...unifiedOf(words.unified, context.host.unifiedCgroups),
  };
}

function cpuOf(words: Words): NonNullable<SpecResources['cpu']> {
  if (words.cpuPeriod < 0n || words.cpuShares < 0n)
    throw invalidArgument(
      `cpu_period ${words.cpuPeriod} and cpu_shares ${words.cpuShares} must not be negative`,
    );
  for (const [name, list] of [
    ['cpuset_cpus', words.cpusetCpus],
    ['cpuset_mems', words.cpusetMems],
  ] as const)
    if (!/^(?:[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*)?$/.test(list))
      throw invalidArgument(`${name} ${JSON.stringify(list)} must be a list as "0-3,6"`);
  return {
    ...(words.cpuShares !== 0n && { shares: toNumber(words.cpuShares) }),
    ...(words.cpuQuota !== 0n && { quota: toNumber(words.cpuQuota) }),
    ...(words.cpuPeriod !== 0n && { period: toNumber(words.cpuPeriod) }),
    ...(words.cpusetCpus !== '' && { cpus: words.cpusetCpus }),
    ...(words.cpusetMems !== '' && { mems: words.cpusetMems }),
  };
}

function memoryOf(words: Words, host: ResourceContext['host']): NonNullable<SpecResources['memory']> {
  const { memoryLimitInBytes: limit, memorySwapLimitInBytes: swap } = words;
  if (limit > 0n && swap > 0n && swap < limit)
    throw invalidArgument(
      `memory_swap_limit_in_bytes ${swap} is memory and swap together, and must not be less than memory_limit_in_bytes ${limit}`,
    );
  const together = swap === 0n ? limit : swap;
  return {
    ...(limit !== 0n && { limit: toNumber(limit) }),
    ...(together !== 0n && host.swapController && { swap: toNumber(together) }),
  };
}

function hugepages(
  wished: readonly Pick<HugepageLimit, 'pageSize' | 'limit'>[],
  { host, settings }: ResourceContext,
): NonNullable<SpecResources['hugepageLimits']> {
  if (wished.length === 0 || settings.disableHugetlbController) return [];
  if (!host.hugetlbController) {
    if (settings.tolerateMissingHugetlbController) return [];
    throw invalidArgument(
      'huge pages limits are specified but hugetlb cgroup controller is missing: set tolerate_missing_hugetlb_controller to ignore this',
    );
  }
  for (const { pageSize } of wished)
    if (!/^[0-9]+[KMG]?B$/.test(pageSize))
      throw invalidArgument(`page_size ${JSON.stringify(pageSize)} must be as "2MB"`);
  return wished.map(({ pageSize, limit }) => ({ pageSize, limit: toNumber(limit) }));
}

function unifiedOf(unified: Readonly<Record<string, string>>, available: boolean): SpecResources {
  const names = Object.keys(unified);
  if (names.length === 0) return {};
  if (!available)
    throw invalidArgument(`unified resources (${names.join(', ')}) need cgroup v2, and this machine has v1`);
  for (const name of names)
    if (!/^[a-z0-9_]+(?:\.[A-Za-z0-9_]+)+$/.test(name))
      throw invalidArgument(`unified resource ${JSON.stringify(name)} is no file of a cgroup controller`);
  return { unified: { ...unified } };
}
