/** The opening handshake of a WebSocket, the server's half (RFC 6455, section 4.2). */
import { createHash } from 'node:crypto';
import type { Refusal, UpgradeRequest } from '../../../wire/http/upgrade-server.ts';
import { listOf } from '../negotiation.ts';

const acceptSuffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export const asksForWebSocket = ({ headers }: UpgradeRequest): boolean =>
  headers['upgrade']?.toLowerCase() === 'websocket';

/**
 * Protocol and headers of the answer. The client's first choice among `protocols` wins; one that asks for none has "".
 */
export function acceptWebSocket(
  { method, headers }: UpgradeRequest,
  protocols: readonly string[],
): { readonly protocol: string; readonly headers: Readonly<Record<string, string>> } | Refusal {
  const key = headers['sec-websocket-key'] ?? '';
  if (method !== 'GET') return { status: 405, text: 'a WebSocket is opened by GET' };
  if (headers['sec-websocket-version'] !== '13')
    return {
      status: 426,
      text: 'version 13 of WebSockets is spoken here',
      headers: { 'sec-websocket-version': '13' },
    };
  if (Buffer.from(key, 'base64').byteLength !== 16)
    return { status: 400, text: 'the Sec-WebSocket-Key is not 16 bytes in base64' };
  const asked = listOf(headers['sec-websocket-protocol']);
  const protocol = asked.length === 0 ? '' : asked.find((one) => protocols.includes(one));
  if (protocol === undefined)
    return {
      status: 403,
      text: `the subprotocols ${asked.join(', ')} are not spoken here, but ${protocols.filter((one) => one !== '').join(', ')}`,
    };
  const accept = createHash('sha1').update(`${key}${acceptSuffix}`).digest('base64');
  return {
    protocol,
    headers: {
      upgrade: 'websocket',
      'sec-websocket-accept': accept,
      ...(protocol !== '' && { 'sec-websocket-protocol': protocol }),
    },
  };
}
