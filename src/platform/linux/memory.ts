/**
 * Memory given back to the kernel: what malloc keeps for later (malloc_trim(3)), and the pages of the Node program
 * that this process has mapped by running through its start (madvise(2), MADV_DONTNEED).
 *
 * The latter stay in the page cache, where the next use finds them again without reading a disk; they are no longer
 * charged to us, and the kernel can drop them without asking us first. Only ranges that are pure copies of the file
 * are let go: a page written to since, as by relocations, would come back as it is in the file.
 */
import { readFileSync } from 'node:fs';
import type { MemoryOperations } from '../platform.ts';
import { MADV_DONTNEED, madvise, mallocTrim } from './libc.ts';

interface Range {
  readonly start: bigint;
  readonly lengthBytes: number;
}

export class LinuxMemory implements MemoryOperations {
  #program: readonly Range[] | undefined;

  release(): void {
    mallocTrim(0);
    this.#program ??= programRanges(readFileSync('/proc/self/smaps', 'utf8'), process.execPath);
    // What fails leaves memory as it is.
    for (const { start, lengthBytes } of this.#program) madvise(start, lengthBytes, MADV_DONTNEED);
  }
}

const mappingLine = /^(?<start>[0-9a-f]+)-(?<end>[0-9a-f]+) (?<access>\S+) \S+ \S+ \d+ *(?<file>.*)$/;

/**
 * Where `file` is mapped privately, cannot be written and has not been: text and constants. Only the segments that the
 * kernel mapped side by side when it started the program, which stay for as long as it lives; V8 maps copies of its
 * builtins elsewhere, and may unmap them.
 */
export function programRanges(smaps: string, file: string): Range[] {
  const ranges: Range[] = [];
  let previousEnd: string | undefined;
  for (const mapping of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const [head = '', ...fields] = mapping.split('\n');
    const { start = '', end = '', access = '', file: mapped = '' } = mappingLine.exec(head)?.groups ?? {};
    if (mapped !== file) continue;
    if (previousEnd !== undefined && start !== previousEnd) break;
    previousEnd = end;
    if (!/^r-[-x]p$/.test(access) || !fields.some((field) => /^Anonymous: +0 kB$/.test(field))) continue;
    const first = BigInt(`0x${start}`);
    ranges.push({ start: first, lengthBytes: Number(BigInt(`0x${end}`) - first) });
  }
  return ranges;
}
