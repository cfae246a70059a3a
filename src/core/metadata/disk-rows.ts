/** What the database lists that takes space, of all namespaces. */
import { integer, text } from './columns.ts';
import type { Reader } from './database.ts';
import { eachRow } from './gc-rows.ts';

export interface SnapshotRow {
  readonly namespace: string;
  readonly snapshotter: string;
  readonly key: string;
  readonly kind: string;
}

export interface DiskRows {
  readonly content: readonly { namespace: string; digest: string; sizeBytes: number }[];
  readonly snapshots: readonly SnapshotRow[];
  readonly ingests: readonly { namespace: string; ref: string }[];
}

export async function readDiskRows(
  reader: Reader,
  breathe: () => Promise<void> | undefined,
): Promise<DiskRows> {
  const content: { namespace: string; digest: string; sizeBytes: number }[] = [];
  const snapshots: SnapshotRow[] = [];
  const ingests: { namespace: string; ref: string }[] = [];
  await eachRow(
    reader,
    { table: 'content', columns: 'namespace, digest, size', key: ['namespace', 'digest'] },
    (row) => {
      content.push({
        namespace: text(row, 'namespace'),
        digest: text(row, 'digest'),
        sizeBytes: integer(row, 'size'),
      });
    },
    breathe,
  );
  const key = ['namespace', 'snapshotter', 'key'];
  await eachRow(
    reader,
    { table: 'snapshots', columns: 'namespace, snapshotter, key, kind', key },
    (row) => {
      snapshots.push({
        namespace: text(row, 'namespace'),
        snapshotter: text(row, 'snapshotter'),
        key: text(row, 'key'),
        kind: text(row, 'kind'),
      });
    },
    breathe,
  );
  await eachRow(
    reader,
    { table: 'ingests', columns: 'namespace, ref', key: ['namespace', 'ref'] },
    (row) => {
      ingests.push({ namespace: text(row, 'namespace'), ref: text(row, 'ref') });
    },
    breathe,
  );
  return { content, snapshots, ingests };
}
