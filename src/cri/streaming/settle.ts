/** The end of a session: what was sent still arrives, and the client is waited for in bounded time. */
import { raceTime } from '../../base/bounded-wait.ts';
import { limits } from '../../base/limits.ts';

/** `running` ends when the client has left. */
export async function settle(
  connection: { readonly close: () => void },
  running: Promise<void>,
): Promise<void> {
  connection.close();
  await raceTime(running, limits.criStreamLingerMs);
}
