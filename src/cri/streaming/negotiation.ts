/** How a client that upgrades to SPDY says which stream protocol it wants, and what it may have. */
import type { Refusal, UpgradeRequest } from '../../wire/http/upgrade-server.ts';

/** The words of a header field that is a list. */
export const listOf = (field: string | undefined): string[] =>
  (field ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');

/** The client's first choice among `protocols`, which stand with the newest first. */
export function acceptSpdy(
  { headers }: UpgradeRequest,
  protocols: readonly string[],
): { readonly protocol: string; readonly headers: Readonly<Record<string, string>> } | Refusal {
  if (headers['upgrade']?.toLowerCase() !== 'spdy/3.1')
    return { status: 400, text: 'unable to upgrade: SPDY/3.1 and WebSockets are spoken here' };
  const asked = listOf(headers['x-stream-protocol-version']);
  if (asked.length === 0)
    return { status: 400, text: 'unable to upgrade: X-Stream-Protocol-Version is required' };
  const protocol = asked.find((one) => protocols.includes(one));
  if (protocol === undefined)
    return {
      status: 403,
      text: `unable to upgrade: unable to negotiate protocol: client supports ${asked.join(', ')}, server accepts ${protocols.join(', ')}`,
      headers: { 'x-accepted-stream-protocol-versions': protocols.join(', ') },
    };
  return { protocol, headers: { upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocol } };
}
