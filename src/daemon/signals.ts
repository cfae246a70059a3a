/**
 * Signals of the daemon process. SIGTERM and SIGINT end it cleanly; SIGHUP reads the settings again, where it kills
 * containerd (its issue 13285); SIGUSR1 writes down what it is doing. Node itself ignores SIGPIPE.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Logger } from '../base/logger.ts';

/** Resolves with the first signal that asks the process to end. */
export function untilStopped(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  process.once('SIGTERM', resolve);
  process.once('SIGINT', resolve);
  return promise;
}

export function onHangup(reload: () => void): void {
  process.on('SIGHUP', reload);
}

/**
 * SIGUSR1 puts what `describe` says into the log and into `gantryd.dump` of the state folder. To be called early:
 * without a listener Node opens its inspector on this signal.
 */
export function dumpOnSignal(log: Logger, stateDir: string, describe: () => Record<string, unknown>): void {
  process.on('SIGUSR1', () => {
    const state = describe();
    const file = path.join(stateDir, 'gantryd.dump');
    log.info({ state, file }, 'state dump');
    try {
      writeFileSync(file, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
    } catch (error) {
      log.warn({ file, error }, 'state dump not written');
    }
  });
}
