/**
 * Ingests: rows against directories. A row without a directory is no damage: the next writer makes it, and it expires.
 * A directory without a row is the collector's. What somebody writes right now is left out.
 */
import { existsSync } from 'node:fs';
import type { Context } from '../../base/context.ts';
import { ingestRows, isIngestListed } from '../metadata/check-rows.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import type { Problem } from './finding.ts';
import type { Tally } from './tally.ts';

export async function* checkIngests(
  { store, tally }: { store: MetadataStore; tally: Tally },
  _ctx: Context,
): AsyncGenerator<Problem> {
  const { contentStore, database, changes } = store;
  const rows = database.read(ingestRows);
  tally.ingests = rows.length;
  for (const { path, ref } of await contentStore.idleIngests()) {
    if (ref !== undefined && database.read((sql) => isIngestListed(sql, ref))) continue;
    changes.contentIsDirty = true;
    yield {
      finding: {
        kind: 'ingest-orphan',
        severity: 'notice',
        namespace: '',
        what: ref ?? 'an ingest that was never finished being made',
        where: path,
        problem: 'the ingest is in no namespace',
        breaks: [],
        remedy: 'the next collection removes it',
      },
      isThere: async () => existsSync(path),
    };
  }
}
