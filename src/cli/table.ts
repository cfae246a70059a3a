/** Output for people: tables whose last column is free, and text made safe for a terminal. */

/** What came from an image, a registry or another client must not steer the terminal. */
// oxlint-disable-next-line no-control-regex -- control characters are what this is about
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');

/** Columns as wide as their widest cell, two spaces between them, one line a row. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows.map((row) => row.map(printable))];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return `${all.map(line).join('\n')}\n`;
}

export const formatJson = (value: unknown): string =>
  `${JSON.stringify(value, (_, member) => (typeof member === 'bigint' ? String(member) : member), 2)}\n`;

export const truncated = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(width - 1, 0))}…`;
