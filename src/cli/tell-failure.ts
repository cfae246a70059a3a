/** A failure on stderr: what failed and why on one line, what to do on the next. */
import type { CliFailure } from './failure.ts';
import { printable } from './table.ts';

export function tellFailure(stderr: { write(text: string): unknown }, failure: CliFailure): void {
  const lines = failure.message.split('\n').map((line) => printable(line.trimEnd()));
  stderr.write(`gantry: ${lines.join('\n        ')}\n`);
  if (failure.hint !== undefined) stderr.write(`hint: ${failure.hint}\n`);
}
