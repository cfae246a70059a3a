/** Linux resources of several plugins as one: what each of them claims, and what comes out. */

import { clone, create } from '@bufbuild/protobuf';
import {
  Field,
  type LinuxResources,
  LinuxResourcesSchema,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import type { Claim } from './field-owners.ts';

const memoryFields = {
  limit: Field.MemLimit,
  reservation: Field.MemReservation,
  swap: Field.MemSwapLimit,
  kernel: Field.MemKernelLimit,
  kernelTcp: Field.MemTCPLimit,
  swappiness: Field.MemSwappiness,
  disableOomKiller: Field.MemDisableOomKiller,
  useHierarchy: Field.MemUseHierarchy,
} as const;

const cpuFields = {
  shares: Field.CPUShares,
  quota: Field.CPUQuota,
  period: Field.CPUPeriod,
  realtimeRuntime: Field.CPURealtimeRuntime,
  realtimePeriod: Field.CPURealtimePeriod,
  cpus: Field.CPUSetCPUs,
  mems: Field.CPUSetMems,
} as const;

const ownFields = {
  blockioClass: Field.BlockioClass,
  rdtClass: Field.RdtClass,
  pids: Field.PidsLimit,
} as const;

/** What is set in `message` of the members that `fields` names. */
function setMembers<Fields extends object>(message: object | undefined, fields: Fields): (keyof Fields)[] {
  const values = new Map(Object.entries(message ?? {}));
  const isSet = (name: string): boolean => values.get(name) !== undefined && values.get(name) !== '';
  return Object.keys(fields).filter(isSet) as (keyof Fields)[];
}

/** Device rules belong to nobody: they add up. */
export function resourceClaims(resources: LinuxResources | undefined): Claim[] {
  if (resources === undefined) return [];
  return [
    ...setMembers(resources.memory, memoryFields).map((name) => ({ field: memoryFields[name] })),
    ...setMembers(resources.cpu, cpuFields).map((name) => ({ field: cpuFields[name] })),
    ...setMembers(resources, ownFields).map((name) => ({ field: ownFields[name] })),
    ...resources.hugepageLimits.map(({ pageSize: key }) => ({ field: Field.HugepageLimits, key })),
    ...Object.keys(resources.unified).map((key) => ({ field: Field.CgroupsUnified, key })),
  ];
}

function overlay<Message extends object>(
  under: Message | undefined,
  over: Message | undefined,
  fields: object,
): Message | undefined {
  if (under === undefined || over === undefined) return over ?? under;
  const members = new Set<string>(setMembers(over, fields));
  return Object.assign(under, Object.fromEntries(Object.entries(over).filter(([name]) => members.has(name))));
}

/** `under` with all that is set in `over`; neither is changed. */
export function mergeResources(
  under: LinuxResources | undefined,
  over: LinuxResources | undefined,
): LinuxResources {
  const low = under === undefined ? create(LinuxResourcesSchema) : clone(LinuxResourcesSchema, under);
  if (over === undefined) return low;
  const high = clone(LinuxResourcesSchema, over);
  const memory = overlay(low.memory, high.memory, memoryFields);
  const cpu = overlay(low.cpu, high.cpu, cpuFields);
  if (memory !== undefined) low.memory = memory;
  if (cpu !== undefined) low.cpu = cpu;
  overlay(low, high, ownFields);
  const sizes = new Set(high.hugepageLimits.map(({ pageSize }) => pageSize));
  low.hugepageLimits = [
    ...low.hugepageLimits.filter(({ pageSize }) => !sizes.has(pageSize)),
    ...high.hugepageLimits,
  ];
  low.unified = { ...low.unified, ...high.unified };
  low.devices = [...low.devices, ...high.devices];
  return low;
}
