/**
 * What runs, or ran: bundles that no task has, and what is mounted below them. The daemon's next start takes both away
 * (it asks each bundle's shim first), so a check only tells. A bundle is looked at twice, for a create may be under way.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { type Context, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import {
  type ContainerId,
  type Namespace,
  parseContainerId,
  parseNamespace,
} from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { MountOperations } from '../../platform/platform.ts';
import type { Finding, Problem } from './finding.ts';

export interface StateCheckDependencies {
  readonly mounts: Pick<MountOperations, 'list'>;
  /** A task of that name is known; of a daemon that is down, that its container is recorded. */
  readonly hasTask: (ctx: NamespacedContext, id: ContainerId) => Promise<boolean>;
}

/** `<bundleRoot>/<namespace>/<id>`. */
export async function* checkState(
  deps: StateCheckDependencies,
  ctx: Context,
  bundleRoot: string,
): AsyncGenerator<Problem> {
  const orphans: string[] = [];
  for (const namespace of await namesIn(bundleRoot))
    for (const id of await namesIn(join(bundleRoot, namespace))) {
      const path = join(bundleRoot, namespace, id);
      if (!(await isOrphan(deps, ctx, { namespace, id, path }))) continue;
      orphans.push(path);
      yield told('bundle-orphan', namespace, `bundle ${id}`, path, 'no task has this bundle');
    }
  const bundles = await Promise.all(
    (await namesIn(bundleRoot)).map(async (namespace) =>
      (await namesIn(join(bundleRoot, namespace))).map((id) => join(bundleRoot, namespace, id)),
    ),
  );
  const living = bundles.flat().filter((path) => !orphans.includes(path));
  for (const { mountPoint } of deps.mounts.list()) {
    if (!mountPoint.startsWith(bundleRoot + sep)) continue;
    if (living.some((path) => mountPoint.startsWith(path + sep))) continue;
    yield told('mount-dangling', '', `mount ${mountPoint}`, mountPoint, 'it is mounted for no task');
  }
}

async function isOrphan(
  { hasTask }: StateCheckDependencies,
  ctx: Context,
  { namespace, id, path }: { namespace: string; id: string; path: string },
): Promise<boolean> {
  const name = parse(namespace, id);
  const status = await lstat(path).catch(() => undefined);
  if (status === undefined || !status.isDirectory()) return false;
  if (Date.now() - status.ctimeMs < limits.checkGraceMs) return false;
  if (name === undefined) return true;
  return !(await hasTask(withNamespace(ctx, name.namespace), name.id));
}

function parse(namespace: string, id: string): { namespace: Namespace; id: ContainerId } | undefined {
  try {
    return { namespace: parseNamespace(namespace), id: parseContainerId(id) };
  } catch (error) {
    if (hasCode(error, 'InvalidArgument')) return undefined;
    throw error;
  }
}

const namesIn = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);

const told = (
  kind: Finding['kind'],
  namespace: string,
  what: string,
  where: string,
  problem: string,
): Problem => ({
  finding: {
    kind,
    severity: 'notice',
    namespace,
    what,
    where,
    problem,
    breaks: [],
    remedy: 'the next start of the daemon takes it away',
  },
});
