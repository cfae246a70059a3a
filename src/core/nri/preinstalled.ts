/**
 * Plugins that the daemon starts itself: programs called `INDEX-NAME` in one directory, with their configurations in
 * another. Each gets its connection as descriptor 3 and nothing of our environment.
 *
 * Differs from containerd: a program whose name says no index is left out with a warning, where containerd starts none.
 */
import { constants } from 'node:fs';
import { access, open, readdir, stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { hasCode, resourceExhausted, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { fromNodeError } from '../../platform/errno.ts';
import type { Platform } from '../../platform/platform.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { socketPair } from '../../wire/socket-pair.ts';

export interface PreinstalledPlugin {
  readonly file: string;
  readonly index: string;
  readonly name: string;
}

const programName = /^(?<index>[0-9]{2})-(?<name>[A-Za-z0-9._-]{1,128})$/;

/** In the order of their indices; none where there is no such directory. */
export async function findPreinstalled(log: Logger, directory: string): Promise<PreinstalledPlugin[]> {
  const found: PreinstalledPlugin[] = [];
  for (const entry of (await entriesOf(directory)).toSorted()) {
    const file = join(directory, entry);
    if (!(await isProgram(file))) continue;
    const { index, name } = programName.exec(entry)?.groups ?? {};
    if (index === undefined || name === undefined)
      log.warn(
        { file },
        'an NRI plugin is left out: its name must be two digits, "-" and a name, as in 10-name',
      );
    else found.push({ file, index, name });
  }
  return found;
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (thrown) {
    const error = fromNodeError(thrown);
    if (hasCode(error, 'NotFound')) return [];
    throw wrap('NRI plugins', error);
  }
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/** `INDEX-NAME.conf`, or else `NAME.conf`; "" when there is neither. Errors: ResourceExhausted, those of reading. */
export async function configurationOf(
  { index, name }: PreinstalledPlugin,
  directory: string,
): Promise<string> {
  for (const file of [`${index}-${name}.conf`, `${name}.conf`]) {
    const text = await readBounded(join(directory, file));
    if (text !== undefined) return text;
  }
  return '';
}

async function readBounded(file: string): Promise<string | undefined> {
  try {
    await using handle = await open(file, 'r');
    const { size } = await handle.stat();
    if (size > limits.nriConfigBytes)
      throw resourceExhausted(`${file} has ${size} bytes, more than the ${limits.nriConfigBytes} allowed`);
    return await handle.readFile('utf8');
  } catch (thrown) {
    const error = fromNodeError(thrown);
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}

export interface StartedPlugin {
  readonly socket: Socket;
  /** Kills it, with all that it has started in its process group. Never throws. */
  kill(): void;
  readonly ended: Promise<unknown>;
}

/** Errors: those of the system when the program cannot be started. */
export async function startPreinstalled(
  { processes, sockets }: Pick<Platform, 'processes' | 'sockets'>,
  { file, index, name }: PreinstalledPlugin,
): Promise<StartedPlugin> {
  const pair = await socketPair(sockets);
  try {
    const pid = processes.spawn({
      file,
      args: [],
      env: { NRI_PLUGIN_NAME: name, NRI_PLUGIN_IDX: index, NRI_PLUGIN_SOCKET: '3' },
      stdio: ['null', 'null', 'null', pair.farFd],
      newProcessGroup: true,
    });
    let hasEnded = false;
    const ended = processes.exited(pid).then(() => {
      hasEnded = true;
    });
    ended.catch(() => {});
    const kill = (): void => {
      if (hasEnded) return;
      try {
        processes.kill(-pid, SIGKILL);
      } catch {}
    };
    return { socket: pair.near, kill, ended };
  } catch (error) {
    pair.near.destroy();
    throw wrap(`start NRI plugin ${index}-${name}`, error);
  } finally {
    pair.closeFar();
  }
}
