/**
 * Snapshots: rows against the back end's records, and those against directories. Dropping is for committed snapshots
 * with nothing but committed ones on them: those can be unpacked again. Where a container or a build stands on a lost
 * layer, its own layer is somebody's data, so it is told and left.
 */
import { existsSync } from 'node:fs';
import { type Context, checkSignal } from '../../base/context.ts';
import { ContainerdError, failedPrecondition } from '../../base/errors.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import { dropSnapshot, type SnapshotRow, snapshotRows } from '../metadata/check-rows.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import {
  type InspectableSnapshotter,
  type InspectedSnapshot,
  isInspectable,
} from '../snapshots/snapshot-inspection.ts';
import type { SnapshotInfo, Snapshotter } from '../snapshots/snapshotter.ts';
import type { Finding, Problem } from './finding.ts';
import type { Tally } from './tally.ts';
import type { Users } from './users.ts';

export interface SnapshotCheckDependencies {
  readonly store: MetadataStore;
  readonly backends: ReadonlyMap<string, Snapshotter>;
  readonly users: Users;
  readonly tally: Tally;
}

export class SnapshotCheck {
  readonly #deps: SnapshotCheckDependencies;

  constructor(dependencies: SnapshotCheckDependencies) {
    this.#deps = dependencies;
  }

  async *run(ctx: Context): AsyncGenerator<Problem> {
    const { store, backends } = this.#deps;
    for (const name of store.snapshotterNames()) {
      const backend = backends.get(name);
      if (backend === undefined) continue;
      if (backend.isRemote === true) {
        yield* this.#remoteRows(ctx, name);
        continue;
      }
      await store.snapshotter(name).settle(ctx);
      yield* this.#rows(ctx, name);
      if (isInspectable(backend)) yield* this.#directories(ctx, name, backend);
    }
  }

  /** A program that is not there is no damage: what it has cannot be told. */
  async *#remoteRows(ctx: Context, name: string): AsyncGenerator<Problem> {
    try {
      await this.#deps.store.snapshotter(name).settle(ctx);
      yield* this.#rows(ctx, name);
    } catch (error) {
      checkSignal(ctx.signal);
      const { message } = ContainerdError.from(error);
      const problem = `its snapshots could not be looked at: ${message}`;
      const { finding } = collected('snapshotter-unavailable', name, `snapshotter ${name}`, problem);
      yield { finding: { ...finding, remedy: 'start the program that serves it, and check again' } };
    }
  }

  async *#rows(ctx: Context, name: string): AsyncGenerator<Problem> {
    const { tally, store } = this.#deps;
    const { keys } = store.snapshotter(name);
    const infos = await Array.fromAsync(keys.all(ctx));
    // Rows second: a row is written after the back end has its snapshot, and goes before it.
    const rows = this.#rowsOf(name);
    tally.snapshots += rows.length;
    const known = new Map(infos.map((info) => [info.key, info]));
    const byKey = new Map(rows.map((row) => [`${row.namespace}\0${row.key}`, row]));
    for (const row of rows) {
      checkSignal(ctx.signal);
      const info = known.get(row.backendKey) ?? (await this.#ask(ctx, name, row.backendKey));
      if (info === undefined) {
        if (this.#isStillThere(row))
          yield this.#lost(
            row,
            'snapshot-missing',
            'there is a record and the snapshotter has no such snapshot',
          );
        continue;
      }
      const problem = parentProblem(row, info, byKey);
      if (problem !== undefined && this.#isStillThere(row)) yield this.#lost(row, 'snapshot-parent', problem);
    }
    const listed = new Set(rows.map(({ backendKey }) => backendKey));
    for (const { key } of infos)
      if (!listed.has(key) && !keys.isBusy(key) && !this.#isListed(name, key)) {
        store.changes.dirtySnapshotters.add(name);
        yield {
          ...collected('snapshot-orphan', key, `snapshotter ${name}`, 'the snapshot is in no namespace'),
          isThere: async () => (await this.#ask(ctx, name, key)) !== undefined,
        };
      }
  }

  *#directories(_ctx: Context, name: string, backend: InspectableSnapshotter): Generator<Problem> {
    const { store } = this.#deps;
    const { snapshots, leftovers, databaseProblems } = backend.inspect();
    for (const problem of databaseProblems) yield corrupt(`database of snapshotter ${name}`, problem);
    const rows = new Map(this.#rowsOf(name).map((row) => [row.backendKey, row]));
    for (const snapshot of snapshots) {
      const row = rows.get(snapshot.record.key);
      // Without a row it is the collector's anyway.
      if (snapshot.missing.length > 0 && row !== undefined) yield this.#emptied(row, snapshot, backend);
    }
    for (const path of leftovers) {
      store.changes.dirtySnapshotters.add(name);
      yield {
        ...collected('snapshot-directory-orphan', path, path, 'the directory is of no snapshot'),
        isThere: async () => existsSync(path),
      };
    }
  }

  #emptied(
    row: SnapshotRow,
    { record, directory, missing }: InspectedSnapshot,
    backend: InspectableSnapshotter,
  ): Problem {
    const what = missing.includes('.') ? 'its directory is' : `${missing.join(' and ')} in its directory is`;
    const problem = `${what} not there`;
    const lost = this.#lost(row, 'snapshot-directory-missing', problem, directory);
    if (record.kind === 'committed') return lost;
    const repair = async (ctx: Context): Promise<string> => {
      const restored = await backend.restoreDirectories(ctx);
      if (!restored.some(({ key }) => key === record.key))
        throw failedPrecondition('its directory cannot be made: see the log of the daemon');
      return 'made anew; what had been written in it is lost';
    };
    return {
      finding: { ...lost.finding, remedy: 'the directory is made anew, without what had been written in it' },
      repair,
    };
  }

  #lost(row: SnapshotRow, kind: Finding['kind'], problem: string, where = 'snapshots table'): Problem {
    const { users } = this.#deps;
    const family = users.descendants(row);
    const held = family.filter((each) => each !== row && each.kind !== 'committed');
    const finding: Finding = {
      kind,
      severity: 'damage',
      namespace: row.namespace,
      what: `${row.kind} snapshot ${row.key} of ${row.snapshotter}`,
      where,
      problem,
      breaks: [
        ...users.brokenBy(family),
        ...family.slice(1).map(({ key, kind: of }) => `${of} snapshot ${key} on it`),
      ],
      remedy:
        held.length > 0
          ? `left as it is: ${held.map(({ key }) => key).join(', ')} stand on it and may hold data; remove those, then check again`
          : family.length === 1 && row.kind !== 'committed'
            ? 'its record is dropped; what had been written in it is lost'
            : 'its record is dropped, and those of the layers on it: the next run or pull of the image unpacks them again',
    };
    return { finding, repair: () => this.#drop(family, held) };
  }

  async #drop(family: readonly SnapshotRow[], held: readonly SnapshotRow[]): Promise<string> {
    if (held.length > 0)
      throw failedPrecondition(`${held.map(({ key }) => key).join(', ')} stand on it and may hold data`);
    const { database, changes } = this.#deps.store;
    await database.write((sql) => {
      for (const row of family.toReversed()) dropSnapshot(sql, row);
    });
    for (const { snapshotter } of family) changes.dirtySnapshotters.add(snapshotter);
    changes.deleted();
    return family.length === 1
      ? 'its record was dropped'
      : `its record was dropped, with ${family.length - 1} on it`;
  }

  #rowsOf(name: string): SnapshotRow[] {
    return this.#deps.store.database.read(snapshotRows).filter(({ snapshotter }) => snapshotter === name);
  }

  #isStillThere(row: SnapshotRow): boolean {
    return this.#rowsOf(row.snapshotter).some(
      ({ namespace, key, backendKey }) =>
        namespace === row.namespace && key === row.key && backendKey === row.backendKey,
    );
  }

  #isListed(name: string, backendKey: string): boolean {
    return this.#rowsOf(name).some((row) => row.backendKey === backendKey);
  }

  /** Made after the list was read. */
  async #ask(ctx: Context, name: string, backendKey: SnapshotKey): Promise<SnapshotInfo | undefined> {
    for await (const info of this.#deps.store.snapshotter(name).keys.all(ctx))
      if (info.key === backendKey) return info;
    return undefined;
  }
}

function parentProblem(
  row: SnapshotRow,
  info: SnapshotInfo,
  byKey: ReadonlyMap<string, SnapshotRow>,
): string | undefined {
  if (row.kind !== info.kind) return `its record says ${row.kind} and the snapshotter says ${info.kind}`;
  const parent = row.parent === undefined ? undefined : byKey.get(`${row.namespace}\0${row.parent}`);
  if (row.parent !== undefined && parent === undefined) return `its parent ${row.parent} has no record`;
  if (parent !== undefined && parent.kind !== 'committed')
    return `its parent ${parent.key} is ${parent.kind} and not committed`;
  if (parent?.backendKey !== info.parent)
    return `its record says that it stands on ${row.parent ?? 'nothing'}, the snapshotter on ${info.parent ?? 'nothing'}`;
  return undefined;
}

export const corrupt = (where: string, problem: string): Problem => ({
  finding: {
    kind: 'database-corrupt',
    severity: 'damage',
    namespace: '',
    what: where,
    where,
    problem,
    breaks: [],
    remedy:
      'left as it is: stop the daemon, keep a copy of its root, and restore a backup or let sqlite3 recover the file',
  },
});

const collected = (kind: Finding['kind'], what: string, where: string, problem: string): Problem => ({
  finding: {
    kind,
    severity: 'notice',
    namespace: '',
    what,
    where,
    problem,
    breaks: [],
    remedy: 'the next collection removes it',
  },
});
