/** What a child process gets of our environment. */

/**
 * A service manager sets these for its own child: a grandchild that had them would speak to the manager in our name
 * (sd_notify(3)), and runc hands LISTEN_FDS on to containers (sd_listen_fds(3)).
 */
const ofServiceManager = [
  'NOTIFY_SOCKET',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'LISTEN_PID',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
] as const;

/** Our environment, without what was meant for us alone, with `additions`. */
export function childEnvironment(additions: Readonly<Record<string, string>> = {}): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  for (const name of ofServiceManager) delete env[name];
  return { ...env, ...additions };
}
