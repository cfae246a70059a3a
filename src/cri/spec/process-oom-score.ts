/**
 * How likely the kernel is to kill a process for want of memory (proc_pid_oom_score_adj(5)). A process without
 * CAP_SYS_RESOURCE cannot go below its own score, and runc would fail; so what is wished is raised to that, always
 * where the capability is missing and by setting elsewhere. containerd does it by setting alone.
 */
import { invalidArgument } from '../../base/errors.ts';
import type { HostFacts } from './spec-facts.ts';

/** Errors: InvalidArgument when out of range. */
export function oomScoreAdj(
  wished: bigint | number,
  host: Pick<HostFacts, 'oomScoreAdj' | 'capabilities'>,
  restrict: boolean,
): number {
  const score = Number(wished);
  if (score < -1000 || score > 1000)
    throw invalidArgument(`oom_score_adj is ${wished}, but it goes from -1000 to 1000`);
  const bounded = restrict || !host.capabilities.includes('CAP_SYS_RESOURCE');
  return bounded ? Math.max(score, host.oomScoreAdj) : score;
}
