/** What a cgroup has used, in the version of the host. Plain values: the wire above gives them their type URL. */
import { existsSync } from 'node:fs';
import { notFound } from '../../base/errors.ts';
import type { CgroupPaths } from './cgroup-paths.ts';
import { type CgroupV1Metrics, readV1Metrics } from './metrics-v1.ts';
import { type CgroupV2Metrics, readV2Metrics } from './metrics-v2.ts';

export type CgroupMetrics =
  | { readonly version: 1; readonly metrics: CgroupV1Metrics }
  | { readonly version: 2; readonly metrics: CgroupV2Metrics };

/** Synchronous: the files are the kernel's and never wait for a disk. Errors: NotFound when the cgroup is gone. */
export function readCgroupMetrics(paths: CgroupPaths): CgroupMetrics {
  const folders = paths.version === 2 ? [paths.path] : [...paths.controllers.values()];
  if (!folders.some((folder) => existsSync(folder))) throw notFound('cgroup', folders[0] ?? '');
  return paths.version === 2
    ? { version: 2, metrics: readV2Metrics(paths.path) }
    : { version: 1, metrics: readV1Metrics(paths.controllers) };
}
