/**
 * The shim's log: `time=… level=… msg=…` lines on stderr, which is the `log` FIFO that the daemon reads. When nobody
 * reads and it is full, lines are dropped: a shim must not wait for its log.
 */
import { writeSync } from 'node:fs';
import type { LogFields, Logger } from '../base/logger.ts';
import { formatInstant, now } from '../base/time.ts';

const text = (value: unknown): string => {
  const plain = value instanceof Error ? value.message : value;
  const word = typeof plain === 'string' ? plain : JSON.stringify(plain, bigints);
  return /^[A-Za-z0-9_./@^+:-]+$/.test(word) ? word : JSON.stringify(word);
};

const bigints = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;

export function shimLogger(debug: boolean, common: LogFields = {}): Logger {
  const write =
    (level: string, enabled: boolean) =>
    (fields: LogFields, message: string): void => {
      if (!enabled) return;
      const rest = Object.entries({ ...common, ...fields }).map(([key, value]) => ` ${key}=${text(value)}`);
      try {
        writeSync(
          2,
          `time="${formatInstant(now())}" level=${level} msg=${JSON.stringify(message)}${rest.join('')}\n`,
        );
      } catch {
        // Nobody reads it, or it is full.
      }
    };
  return {
    trace: write('trace', false),
    debug: write('debug', debug),
    info: write('info', true),
    warn: write('warning', true),
    error: write('error', true),
    child: (fields) => shimLogger(debug, { ...common, ...fields }),
  };
}
