/**
 * When a container is to be started again, as its labels have it: `no`, `always` (also when there is none),
 * `unless-stopped`, `on-failure[:MOST]` with the count in a label of its own. The labels are containerd's, which nerdctl
 * writes.
 */
import { invalidArgument } from '../../base/errors.ts';
import type { Labels } from '../../base/labels.ts';

export const restartLabels = {
  /** `running` or `stopped`: what the container is to be. Without it nobody looks after the container. */
  status: 'containerd.io/restart.status',
  policy: 'containerd.io/restart.policy',
  count: 'containerd.io/restart.count',
  logUri: 'containerd.io/restart.loguri',
  explicitlyStopped: 'containerd.io/restart.explicitly-stopped',
} as const;

export const restartPolicies = ['no', 'always', 'on-failure', 'unless-stopped'] as const;

export interface RestartPolicy {
  readonly name: (typeof restartPolicies)[number];
  /** Of `on-failure`; 0 for as often as need be. */
  readonly most: number;
}

/** Errors: InvalidArgument. */
export function parseRestartPolicy(text: string): RestartPolicy {
  if (text === '') return { name: 'always', most: 0 };
  const [, word = '', most] = /^([a-z-]+)(?::(\d{1,9}))?$/.exec(text) ?? [];
  const name = restartPolicies.find((each) => each === word);
  if (name === undefined || (most !== undefined && name !== 'on-failure'))
    throw invalidArgument(
      `restart policy ${JSON.stringify(text)} is none: use no, always, unless-stopped or on-failure[:MOST]`,
    );
  return { name, most: Number(most ?? 0) };
}

export const restartCount = (labels: Labels): number => {
  const count = Number(labels[restartLabels.count] ?? 0);
  return Number.isSafeInteger(count) && count > 0 ? count : 0;
};

/** Whether a container that does not run is to be started. `exitStatus` is 0 when it has no task. Errors: InvalidArgument. */
export function wantsRestart(labels: Labels, exitStatus: number): boolean {
  const { name, most } = parseRestartPolicy(labels[restartLabels.policy] ?? '');
  if (name === 'unless-stopped') return labels[restartLabels.explicitlyStopped] !== 'true';
  if (name === 'on-failure') return exitStatus !== 0 && (most === 0 || restartCount(labels) < most);
  return name === 'always';
}
