/**
 * The files of one ingest: `ref`, `startedat`, `updatedat`, `total`, `data`, as containerd lays them out, and `boot`.
 *
 * None is synced before the commit. `boot` says since which start of the machine they were written: a power cut in
 * between may have left any part of `data`, whose digest would then be wrong for ever.
 * `ref` is written last but for `data`, so a directory without it was never finished being made, and counts as absent.
 * `updatedat` is kept for other tools; here the time of `data` says when bytes last came.
 */
import { mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Digester } from '../../base/digest.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { formatInstant, type Instant, instantOfNs, now, parseInstant } from '../../base/time.ts';
import { isErrno } from '../../platform/errno.ts';
import type { IngestStatus } from './content-store.ts';

export const dataFile = (directory: string): string => join(directory, 'data');

/** Undefined when there is no (whole) ingest. */
export async function readIngest(directory: string): Promise<IngestStatus | undefined> {
  try {
    const [ref, started, total] = await Promise.all(
      ['ref', 'startedat', 'total'].map((name) => readFile(join(directory, name), 'utf8')),
    );
    const data = await stat(dataFile(directory), { bigint: true }).catch(absentIsUndefined);
    const startedAt = parseInstant(started ?? '') ?? instantOfNs(0n);
    return {
      ref: ref as IngestRef,
      offsetBytes: Number(data?.size ?? 0n),
      totalBytes: Number(total) || 0,
      expected: undefined,
      startedAt,
      updatedAt: data === undefined ? startedAt : instantOfNs(data.mtimeNs),
    };
  } catch (error) {
    return absentIsUndefined(error);
  }
}

export function absentIsUndefined(error: unknown): undefined {
  if (!isErrno(error, 'ENOENT')) throw error;
}

export async function makeIngest(
  directory: string,
  { ref, totalBytes, bootId }: { ref: IngestRef; totalBytes: number; bootId: string },
): Promise<Instant> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { mode: 0o755 });
  const startedAt = now();
  const text = formatInstant(startedAt);
  await Promise.all([
    writeFile(join(directory, 'startedat'), text),
    writeFile(join(directory, 'updatedat'), text),
    writeFile(join(directory, 'total'), String(totalBytes)),
    writeFile(join(directory, 'boot'), bootId),
  ]);
  await writeFile(join(directory, 'ref'), ref);
  return startedAt;
}

/** Its bytes are those that were written: the machine was not started anew since. */
export const isOfThisBoot = async (directory: string, bootId: string): Promise<boolean> =>
  (await readFile(join(directory, 'boot'), 'utf8').catch(absentIsUndefined)) === bootId;

export const touchIngest = (directory: string, updatedAt: Instant): Promise<void> =>
  writeFile(join(directory, 'updatedat'), formatInstant(updatedAt));

/** Digest of the first `sizeBytes` of a file: a resumed ingest goes on from what is really there. */
export async function hashFile(path: string, sizeBytes: number): Promise<Digester> {
  const digester = new Digester();
  if (sizeBytes === 0) return digester;
  await using handle = await open(path, 'r');
  const buffer = Buffer.allocUnsafeSlow(Math.min(limits.contentReadChunkBytes, sizeBytes));
  for (let at = 0; at < sizeBytes; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, sizeBytes - at), at);
    if (bytesRead === 0) break;
    digester.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return digester;
}
