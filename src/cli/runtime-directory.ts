/** Where this user's FIFOs and temporary mounts go; they need not survive a reboot. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Surroundings } from './app.ts';

const runtimeDirectory = ({ env, uid }: Pick<Surroundings, 'env' | 'uid'>): string => {
  const own = env['XDG_RUNTIME_DIR'];
  if (uid === 0) return '/run/gantry';
  return own !== undefined && own.startsWith('/') ? join(own, 'gantry') : join(tmpdir(), `gantry-${uid}`);
};

export const fifoDirectory = (around: Pick<Surroundings, 'env' | 'uid'>): string =>
  join(runtimeDirectory(around), 'fifo');

export const mountDirectory = (around: Pick<Surroundings, 'env' | 'uid'>): string =>
  join(runtimeDirectory(around), 'cli-mounts');
