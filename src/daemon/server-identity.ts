/** Who this daemon is: a uuid for the life of its root directory, its process, and the namespace that counts it. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { isErrno } from '../platform/errno.ts';
import { pidNamespace } from '../platform/pid-namespace.ts';
import { replaceFile } from '../platform/replace-file.ts';
import type { ServerIdentity } from '../services/introspection.ts';

/** Asked at the first call only: the uuid in `uuidPath` is made then, where there is none. */
export function serverIdentity(uuidPath: string): () => ServerIdentity {
  let uuid: string | undefined;
  return () => {
    uuid ??= readOrMakeUuid(uuidPath);
    return { uuid, pid: process.pid, pidNamespace: pidNamespace() };
  };
}

/** The uuid in `file`, durable before it is told to anybody. */
function readOrMakeUuid(file: string): string {
  try {
    const known = readFileSync(file, 'utf8').trim();
    if (known !== '') return known;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  const uuid = randomUUID();
  mkdirSync(dirname(file), { recursive: true, mode: 0o711 });
  replaceFile(file, uuid, { mode: 0o600, durable: true });
  return uuid;
}
