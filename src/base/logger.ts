/** What code may say, and nothing about where it goes; the daemon binds it to pino, tests to memory. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  /** Fields first, then what happened, in lower case and without a full stop. Secrets never go in. */
  trace(fields: LogFields, message: string): void;
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  child(fields: LogFields): Logger;
}

const nothing = (): void => {};

export const silentLogger: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silentLogger,
};
