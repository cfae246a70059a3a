/** Tells the service manager how we are: sd_notify(3), a datagram of `NAME=value` lines to $NOTIFY_SOCKET. */
import type { Logger } from '../base/logger.ts';
import type { Platform } from '../platform/platform.ts';

/** Does nothing without $NOTIFY_SOCKET. A failure is logged and never stops the daemon. */
export function notifyServiceManager(
  { platform, log }: { readonly platform: Platform; readonly log: Logger },
  state: 'READY=1' | 'STOPPING=1',
): void {
  const socket = process.env['NOTIFY_SOCKET'] ?? '';
  if (socket === '') return;
  try {
    platform.sockets.sendDatagram(socket, Buffer.from(state));
  } catch (error) {
    log.warn({ socket, error }, 'service manager not notified');
  }
}
