/**
 * What the shim knows of a container, in its bundle: so that a later shim can take over, and the `delete` command can
 * clean up. It is written before each step whose effect must be found again; not synced, because a bundle means nothing
 * after a reboot. The format is that of src/oci/shim-state.ts.
 *
 * A line is appended, which is the cheapest write there is; a file that has grown is replaced. (ext4 writes the data of
 * a file out when it is renamed over another: 0.3 ms, which each start would pay several times.)
 */
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseShimState, type SavedContainer, shimStateFile } from '../../oci/shim-state.ts';
import { replaceFile } from '../../platform/replace-file.ts';

const pathIn = (bundle: string): string => join(bundle, shimStateFile);

/** A container with many execs writes many lines. */
const bytesMax = 64 * 1024;

export class StateFile {
  readonly #path: string;
  /** Undefined before the first write: what a shim before us left may end in half a line. */
  #bytes: number | undefined;

  constructor(bundle: string) {
    this.#path = pathIn(bundle);
  }

  /** Errors: the file system's. */
  save(state: SavedContainer): void {
    const line = `${JSON.stringify(state)}\n`;
    const bytes = Buffer.byteLength(line);
    if (this.#bytes === undefined || this.#bytes + bytes > bytesMax) {
      replaceFile(this.#path, line, { mode: 0o600 });
      this.#bytes = bytes;
      return;
    }
    const before = this.#bytes;
    // A write that fails may have come half way.
    this.#bytes = undefined;
    appendFileSync(this.#path, line, { mode: 0o600 });
    this.#bytes = before + bytes;
  }
}

/** Undefined when there is none, or none that we wrote. */
export function loadContainer(bundle: string): SavedContainer | undefined {
  try {
    return parseShimState(readFileSync(pathIn(bundle), 'utf8'));
  } catch {
    return undefined;
  }
}

/** Not an error when there is none. */
export function forgetContainer(bundle: string): void {
  rmSync(pathIn(bundle), { force: true });
}
