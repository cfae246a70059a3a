/**
 * The platform of this process, made once: a second set of process tables would not know the children of the first.
 * Koffi is loaded only where it is used, so the portable twin runs without it.
 */
import { invalidArgument } from '../base/errors.ts';
import type { Platform } from './platform.ts';

let selected: Promise<Platform> | undefined;

async function load(): Promise<Platform> {
  const forced = process.env['GANTRY_PLATFORM'] ?? '';
  if (forced !== '' && forced !== 'linux' && forced !== 'portable')
    throw invalidArgument(`GANTRY_PLATFORM is ${JSON.stringify(forced)}: it may be "linux" or "portable"`);
  if (process.platform === 'linux' && forced !== 'portable')
    return (await import('./linux/linux-platform.ts')).linuxPlatform();
  return (await import('./portable/portable-platform.ts')).portablePlatform();
}

/** Linux where we are on it, the portable twin elsewhere and with GANTRY_PLATFORM=portable. */
export function selectPlatform(): Promise<Platform> {
  selected ??= load();
  return selected;
}
