/**
 * Output of detached containers: one file each, written by the shim (`file://` URI, both streams together), at
 * `<log directory>/<namespace>/<id>.log`. The container's label says where, so that `logs` finds it whatever the
 * directory is set to by then.
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ContainerRecord } from '../client/index.ts';
import { logLabel } from './container-names.ts';
import { FileChanges } from './file-changes.ts';

export const defaultLogDirectory = '/var/log/gantry';

/** The URI for a container's log; its directory is made, for root only. */
export async function prepareLog(
  directory: string,
  { namespace, id }: { namespace: string; id: string },
): Promise<string> {
  const folder = join(directory, namespace);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return pathToFileURL(join(folder, `${id}.log`)).href;
}

/** undefined when the container keeps none. */
export function logPathOf({ labels }: Pick<ContainerRecord, 'labels'>): string | undefined {
  const uri = labels[logLabel];
  return uri?.startsWith('file:///') === true ? fileURLToPath(uri) : undefined;
}

/** Labels can be written by others: only a file that is named after the container is taken for its log. */
export async function removeLog(container: ContainerRecord): Promise<void> {
  const path = logPathOf(container);
  if (path !== undefined && basename(path) === `${container.id}.log`) await rm(path, { force: true });
}

const scanBytes = 64 * 1024;

/** Where the last `lines` lines begin. */
export async function tailOffset(path: string, lines: number): Promise<number> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  if (lines === 0) return size;
  const buffer = Buffer.alloc(scanBytes);
  // The newline that ends the last line begins none.
  let wanted = lines + 1;
  for (let end = size; end > 0; ) {
    const start = Math.max(end - scanBytes, 0);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    for (let index = bytesRead - 1; index >= 0; index -= 1) {
      const ends = buffer[index] === 0x0a;
      if (start + index === size - 1 && !ends) wanted -= 1;
      if (!ends) continue;
      wanted -= 1;
      if (wanted === 0) return start + index + 1;
    }
    end = start;
  }
  return 0;
}

export interface Following {
  /** Ends the following once everything that was written before it is read. */
  readonly until: Promise<unknown>;
  readonly signal: AbortSignal;
}

/** The file from `offset` on; with `follow` also what is appended until then. */
export async function* readLog(
  path: string,
  { offset, follow }: { offset: number; follow?: Following },
): AsyncGenerator<Buffer, void> {
  let position = offset;
  const rest = async function* (): AsyncGenerator<Buffer, void> {
    for await (const chunk of createReadStream(path, { start: position })) {
      position += (chunk as Buffer).byteLength;
      yield chunk as Buffer;
    }
  };
  using changes = follow === undefined ? undefined : new FileChanges(path);
  yield* rest();
  if (follow === undefined || changes === undefined) return;
  const over = Promise.race([follow.until.then(() => true), abortedOf(follow.signal)]);
  while (!(await Promise.race([over, changes.next()]))) {
    const { size } = await stat(path);
    // Somebody emptied it.
    if (size < position) position = 0;
    yield* rest();
  }
  if (!follow.signal.aborted) yield* rest();
}

const abortedOf = (signal: AbortSignal): Promise<boolean> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(true);
    signal.addEventListener('abort', () => resolve(true), { once: true });
  });
