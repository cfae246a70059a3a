/** The batch that a killed shim was appending to a log: made again, and what is missing of it appended. */
import { closeSync, constants, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CriLog } from './cri-log.ts';
import { formatLines, lineHeads, type OutputName } from './log-lines.ts';
import type { JournalRecord, OutputSpool } from './output-spool.ts';

export interface Recovery {
  readonly record: JournalRecord;
  /** At what the record says was done; moved on behind the batch. */
  readonly spool: OutputSpool;
  readonly name: OutputName;
  readonly log: CriLog;
  readonly maxLineBytes: number;
  readonly scratch: { readonly input: Buffer; readonly output: Buffer };
}

/** Errors: of the file system, as Node has them. */
export function finishBatch({ record, spool, name, log, maxLineBytes, scratch }: Recovery): void {
  const { batchBytes, writtenBytes, time, logBytes } = record;
  const input = spool.range(scratch.input, spool.doneBytes, spool.doneBytes + batchBytes);
  spool.done(input.length);
  const formatted = formatLines(input, scratch.output, lineHeads(time, name), { maxLineBytes, isLast: true });
  const batch = scratch.output.subarray(0, Math.min(formatted.writtenBytes, writtenBytes));
  const at = log.position();
  // A rotation gives the file another name beside it.
  const path = isIt(at?.inode, record) ? log.path : findInode(record, log.path);
  if (path === undefined) {
    log.append(batch, at);
    return;
  }
  const there = statSync(path, { bigint: true }).size - logBytes;
  // Shorter than it was: somebody emptied it, and with it what was before.
  const missing = there < 0n ? batch : batch.subarray(Number(there > writtenBytes ? writtenBytes : there));
  if (missing.length === 0) return;
  const fd = openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
  try {
    for (let written = 0; written < missing.length; ) written += writeSync(fd, missing, written);
  } finally {
    closeSync(fd);
  }
}

const isIt = (inode: bigint | undefined, record: JournalRecord): boolean =>
  inode !== undefined && BigInt.asIntN(64, inode) === record.inode;

function findInode(record: JournalRecord, path: string): string | undefined {
  const directory = dirname(path);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const candidate = join(directory, entry.name);
    if (!entry.isFile()) continue;
    const status = statSync(candidate, { bigint: true, throwIfNoEntry: false });
    if (isIt(status?.ino, record)) return candidate;
  }
  return undefined;
}
