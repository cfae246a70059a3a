/**
 * Everything that the shim before this one held, taken over side by side. One container that cannot be taken over does
 * not keep the others: it is told to the log, its link stays for the next try, and the daemon does not find it here.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Logger } from '../../base/logger.ts';
import type { MountOperations, ProcessOperations } from '../../platform/platform.ts';
import type { HeldDirectory } from '../held-directory.ts';
import type { Container } from '../process/container.ts';
import { adoptContainer, type DependenciesOf } from './adopt-container.ts';
import { runcCalls } from './calls-in-flight.ts';

/** As mountinfo has it. */
const canonical = (path: string): string => join(realpathSync(dirname(path)), basename(path));

export interface AdoptDependencies {
  readonly held: HeldDirectory;
  readonly mounts: Pick<MountOperations, 'list'>;
  readonly processes: Pick<ProcessOperations, 'list' | 'arguments'>;
  readonly log: Logger;
  readonly dependenciesOf: DependenciesOf;
}

/** Resolves when what had ended before is known to have. Costs nothing when nothing was held. */
export async function adoptAll({
  held,
  mounts,
  processes,
  log,
  dependenciesOf,
}: AdoptDependencies): Promise<Container[]> {
  const found = held.list();
  if (found.length === 0) return [];
  const startMs = performance.now();
  const calls = runcCalls(processes);
  const mounted = new Set(mounts.list().map(({ mountPoint }) => mountPoint));
  const containers = await Promise.all(
    found.map(async (one) => {
      const owner = {};
      held.hold(one, owner);
      try {
        return await adoptContainer(dependenciesOf, {
          ...one,
          calls: calls.get(one.bundle) ?? [],
          heldIn: held.path,
          isPinned: (path) => mounted.has(canonical(path)),
          letGo: () => held.letGo(one, owner),
        });
      } catch (error) {
        log.error({ error, ...one }, 'a container of the shim before this one could not be taken over');
        return undefined;
      }
    }),
  );
  const adopted = containers.filter((container) => container !== undefined);
  const tookMs = Math.round(performance.now() - startMs);
  log.info(
    { found: found.length, adopted: adopted.length, tookMs },
    'took over from the shim before this one',
  );
  return adopted;
}
