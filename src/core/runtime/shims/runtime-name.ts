/** From a runtime's name to the program that is its shim, by containerd's rule. */
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';
import { type ContainerdError, unknown } from '../../../base/errors.ts';

/** The names that the shim of this house serves, shared by all of their containers. */
const builtInRuntimes: ReadonlySet<string> = new Set(['io.containerd.runc.v2', 'io.containerd.gantry.v1']);

export const isBuiltIn = (name: string): boolean => builtInRuntimes.has(name);

/**
 * Absolute path of the shim: an absolute name as it is; `io.containerd.X.vN` is `containerd-shim-X-vN` on PATH or
 * beside the daemon. Errors: Unknown, in containerd's words, which clients show.
 */
export function shimBinary(name: string, { beside }: { beside: string }): string {
  if (path.isAbsolute(name)) {
    if (isExecutable(name)) return name;
    throw unresolved(
      existsSync(name)
        ? `invalid custom binary path: ${name} is not executable`
        : `invalid custom binary path: stat ${name}: no such file or directory`,
    );
  }
  const parts = name.split('.');
  if (parts.length < 2 || parts[0] === '' || name.includes('/'))
    throw unresolved(
      `invalid runtime name ${name}, correct runtime name should be either format like \`io.containerd.runc.v2\` or a full path to the binary`,
    );
  const binary = `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
  for (const directory of [...(process.env['PATH'] ?? '').split(':'), beside]) {
    const candidate = path.join(directory, binary);
    if (path.isAbsolute(candidate) && isExecutable(candidate)) return candidate;
  }
  throw unresolved(
    `runtime ${JSON.stringify(name)} binary not installed ${JSON.stringify(binary)}: file does not exist`,
  );
}

const unresolved = (reason: string): ContainerdError => unknown(`failed to resolve runtime path: ${reason}`);

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
