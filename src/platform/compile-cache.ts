/**
 * V8's compiled code on disk (`module.enableCompileCache`, NODE_COMPILE_CACHE), for the programs of this house only: the
 * launchers set it, and what else is started is not to use it.
 */
import { flushCompileCache, getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';

const variable = 'NODE_COMPILE_CACHE';

/** To be called before anything is started. */
export function keepCompileCacheToOurselves(): void {
  delete process.env[variable];
}

/** The same cache as ours, in the environment of another program of this house; nothing when we have none. */
export function sharedCompileCache(): Record<string, string> {
  // Node's own is below it, by its version.
  const directory = getCompileCacheDir();
  return directory === undefined ? {} : { [variable]: dirname(directory) };
}

/** Written now: a process that runs for long seldom ends in a way that would write it. */
export function saveCompileCache(): void {
  flushCompileCache();
}
