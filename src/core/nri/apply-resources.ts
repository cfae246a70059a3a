/** Linux resources as plugins and updates give them, put over those of a runtime specification. */
import { failedPrecondition } from '../../base/errors.ts';
import type { SpecDeviceRule, SpecResources } from '../../oci/runtime-spec.ts';
import type { LinuxDeviceCgroup, LinuxResources } from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';

const most = BigInt(Number.MAX_SAFE_INTEGER);

/** Beyond 2^53 a number says "no limit" anyway, and it would not survive JSON: it becomes 2^53-1. */
export const toNumber = (value: bigint): number =>
  Number(value > most ? most : value < -most ? -most : value);

/** The members that are set, as values of JSON; `disableOomKiller` as the specification spells it. */
function valuesOf(message: object | undefined): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(message ?? {})) {
    if (typeof member === 'string' && member !== '' && name !== '$typeName') values[name] = member;
    if (typeof member !== 'object' || member === null || !('value' in member)) continue;
    const { value } = member as { value: unknown };
    values[specNames[name] ?? name] = typeof value === 'bigint' ? toNumber(value) : value;
  }
  return values;
}

const specNames: Readonly<Record<string, string>> = {
  kernelTcp: 'kernelTCP',
  disableOomKiller: 'disableOOMKiller',
};

/** Errors: FailedPrecondition for a class of block I/O. */
export function applyResources(before: SpecResources | undefined, asked: LinuxResources): SpecResources {
  if ((asked.blockioClass?.value ?? '') !== '')
    throw failedPrecondition(
      `an NRI plugin sets the block I/O class ${JSON.stringify(asked.blockioClass?.value)}: such classes are not supported`,
    );
  const sizes = new Set(asked.hugepageLimits.map(({ pageSize }) => pageSize));
  const hugepageLimits = [
    ...(before?.hugepageLimits ?? []).filter(({ pageSize }) => !sizes.has(pageSize)),
    ...asked.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit: toNumber(limit) })),
  ];
  const memory = { ...before?.memory, ...valuesOf(asked.memory) };
  const cpu = { ...before?.cpu, ...valuesOf(asked.cpu) };
  const unified = { ...before?.unified, ...asked.unified };
  return {
    ...before,
    ...(Object.keys(memory).length === 0 ? {} : { memory }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(asked.pids === undefined ? {} : { pids: { limit: toNumber(asked.pids.limit) } }),
    ...(hugepageLimits.length === 0 ? {} : { hugepageLimits }),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
    ...(asked.devices.length === 0
      ? {}
      : { devices: [...(before?.devices ?? []), ...asked.devices.map(toRule)] }),
  };
}

const ruleTypes = ['a', 'b', 'c'] as const;

function toRule({ allow, type, major, minor, access }: LinuxDeviceCgroup): SpecDeviceRule {
  const known = ruleTypes.find((one) => one === type);
  return {
    allow,
    ...(known === undefined ? {} : { type: known }),
    ...(major === undefined ? {} : { major: toNumber(major.value) }),
    ...(minor === undefined ? {} : { minor: toNumber(minor.value) }),
    ...(access === '' ? {} : { access }),
  };
}
