/**
 * The daemon's log: pino behind base's Logger, one line an entry on stderr.
 *
 * `json` has containerd's keys (level, msg, time and the fields beside); `text` its `time=… level=… msg=…`. Fields of
 * secret names are blanked in both. An error among the fields is printed as its message; its stack only at debug.
 */
import { writeSync } from 'node:fs';
import { type Logger as PinoLogger, pino } from 'pino';
import type { LogFields, Logger } from '../base/logger.ts';
import { formatInstant, now } from '../base/time.ts';
import { type LogFormat, type LogLevel, logLevels } from './config/daemon-config.ts';

/** Read for each line: whoever keeps the object and changes it changes the log, its children too. */
export interface LoggerOptions {
  level: LogLevel;
  format: LogFormat;
  /** Takes one line with its end. Standard error when absent. */
  write?: (line: string) => void;
}

const secretNames = ['password', 'secret', 'token', 'authorization', 'auth', 'credentials', 'identityToken'];

export function createLogger(options: LoggerOptions): Logger {
  const { write = writeToStderr } = options;
  const logger = pino(
    {
      // Children of pino keep the level they were made with, so the level is looked at here.
      level: 'trace',
      base: null,
      timestamp: () => `,"time":"${formatInstant(now())}"`,
      formatters: { level: (label) => ({ level: label === 'warn' ? 'warning' : label }) },
      redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
    },
    { write: (line: string) => write(options.format === 'json' ? line : textLine(line)) },
  );
  return bind(logger, (level) => logLevels.indexOf(level) >= logLevels.indexOf(options.level));
}

type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';

function bind(logger: PinoLogger, isEnabled: (level: Level) => boolean): Logger {
  const at =
    (level: Level) =>
    (fields: LogFields, message: string): void => {
      if (isEnabled(level)) logger[level](plain(fields), message);
    };
  const plain = (fields: LogFields): LogFields => withoutErrors(fields, isEnabled('debug'));
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => bind(logger.child(plain(fields)), isEnabled),
  };
}

/** Errors become text, and bigints too, which JSON does not know. */
function withoutErrors(fields: LogFields, withStack: boolean): LogFields {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value instanceof Error) plain[key] = withStack ? (value.stack ?? value.message) : value.message;
    else plain[key] = typeof value === 'bigint' ? value.toString() : value;
  }
  return plain;
}

function textLine(json: string): string {
  const { time, level, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${textValue(value)}`);
  return `time=${JSON.stringify(time)} level=${String(level)} msg=${textValue(msg)}${rest.join('')}\n`;
}

const textValue = (value: unknown): string => {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[A-Za-z0-9_./@^+:-]+$/.test(text) ? text : JSON.stringify(text);
};

/** At once and in order, so that the last words before an end are there. */
function writeToStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // Whoever read our log has gone or is full: that must not stop the daemon.
  }
}
