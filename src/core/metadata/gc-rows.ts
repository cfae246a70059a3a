/** Rows of a table in the order of its key, in pages with pauses between them. */
import { text } from './columns.ts';
import type { Reader, Row } from './database.ts';

/** Parsing the labels of one page takes about a millisecond. */
const pageRows = 250;

export interface RowQuery {
  readonly table: string;
  readonly columns: string;
  /** Columns, all texts; the first is never empty. */
  readonly key: readonly string[];
  readonly where?: string | undefined;
}

/** Pages rather than a row at a time: an asynchronous step for each row costs more than the row. */
export async function eachRow(
  reader: Reader,
  { table, columns, key, where = 'TRUE' }: RowQuery,
  visit: (row: Row) => void,
  breathe: () => Promise<void> | undefined,
): Promise<void> {
  const keyColumns = key.join(', ');
  const marks = key.map(() => '?').join(', ');
  const select = `SELECT ${columns} FROM ${table} WHERE (${keyColumns}) > (${marks}) AND ${where}
    ORDER BY ${keyColumns} LIMIT ${pageRows}`;
  // Texts of a key are never empty in their first column, so this stands before every row.
  let after = key.map(() => '');
  for (;;) {
    const page = reader.read((sql) => sql.all(select, ...after));
    for (const row of page) visit(row);
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return;
    after = key.map((column) => text(last, column));
    const pause = breathe();
    if (pause !== undefined) await pause;
  }
}
