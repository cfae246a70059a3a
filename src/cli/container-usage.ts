/** What a container uses, from its cgroup's metrics of either version. */
import type { AnyValue } from '../client/index.ts';
import { typeNameOf, unpackAny } from '../wire/any.ts';
import { MetricsSchema as MetricsV1Schema } from '../wire/gen/containerd/cgroups/v1/metrics_pb.js';
import { MetricsSchema as MetricsV2Schema } from '../wire/gen/containerd/cgroups/v2/metrics_pb.js';

export interface ContainerUsage {
  readonly memoryBytes: number;
  /** undefined when there is none. */
  readonly memoryLimitBytes: number | undefined;
  readonly cpuMs: number;
  readonly pids: number;
}

/** cgroup v1 writes "no limit" as the largest page-aligned number, v2 as the largest of all. */
const highestLimit = 2n ** 62n;

const limitOf = (limit: bigint): number | undefined =>
  limit === 0n || limit >= highestLimit ? undefined : Number(limit);

/** Errors: InvalidArgument for metrics of another kind. */
export function usageOf(data: AnyValue): ContainerUsage {
  if (typeNameOf(data) === MetricsV1Schema.typeName) {
    const { memory, cpu, pids } = unpackAny(MetricsV1Schema, data);
    return {
      memoryBytes: Number(memory?.usage?.usage ?? 0n),
      memoryLimitBytes: limitOf(memory?.usage?.limit ?? 0n),
      cpuMs: Number((cpu?.usage?.total ?? 0n) / 1_000_000n),
      pids: Number(pids?.current ?? 0n),
    };
  }
  const { memory, cpu, pids } = unpackAny(MetricsV2Schema, data);
  return {
    memoryBytes: Number(memory?.usage ?? 0n),
    memoryLimitBytes: limitOf(memory?.usageLimit ?? 0n),
    cpuMs: Number((cpu?.usageUsec ?? 0n) / 1000n),
    pids: Number(pids?.current ?? 0n),
  };
}
