/**
 * What went wrong between us and a server, told so that somebody can act on it. All of it is Unavailable, but for our
 * own cancellation.
 */
import { ContainerdError, unavailable } from '../../base/errors.ts';
import { redactUrl } from './redact.ts';

/** Codes of Node and undici, and what to do about them. */
const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: check host and port',
  ENOTFOUND: 'the host name does not resolve: check its spelling and the DNS',
  EAI_AGAIN: 'the host name does not resolve: check the DNS',
  EHOSTUNREACH: 'there is no route to the host',
  ENETUNREACH: 'there is no route to the network',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  ETIMEDOUT: 'the connection timed out',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_CONNECT_TIMEOUT: 'connecting timed out',
  UND_ERR_HEADERS_TIMEOUT: 'the server did not answer in time',
  UND_ERR_BODY_TIMEOUT: 'the server fell silent within its answer',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer ended early',
  UND_ERR_RES_EXCEEDED_MAX_SIZE: 'the answer is too long',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed: add its authority as `ca` in hosts.toml',
  SELF_SIGNED_CERT_IN_CHAIN: 'its authority is not trusted: add it as `ca` in hosts.toml',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its authority is not trusted: add it as `ca` in hosts.toml',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its authority is not trusted: add it as `ca` in hosts.toml',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS: it may want plain http',
  EPROTO: 'the TLS handshake failed: it may want plain http',
};

/** Those that a second try may well survive: a connection that was there and broke. */
const transientCodes = new Set([
  'ECONNRESET',
  'EPIPE',
  'UND_ERR_SOCKET',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  'EAI_AGAIN',
]);

function codeOf(thrown: unknown): string {
  let error = thrown;
  for (let depth = 0; depth < 4 && error instanceof Error; depth += 1) {
    if ('code' in error && typeof error.code === 'string') return error.code;
    error = error.cause;
  }
  return '';
}

/** `doing` is "GET" and the like. Errors of ours and aborts keep their code. */
export function requestFailed(doing: string, url: URL, thrown: unknown): ContainerdError {
  if (thrown instanceof ContainerdError) return thrown;
  if (isAbort(thrown)) return ContainerdError.from(thrown);
  const code = codeOf(thrown);
  const reason = hints[code] ?? (thrown instanceof Error ? thrown.message : String(thrown));
  const suffix = code === '' ? '' : ` (${code})`;
  return unavailable(`${doing} ${redactUrl(url)}: ${reason}${suffix}`, thrown);
}

const isAbort = (thrown: unknown): boolean =>
  thrown instanceof Error && (thrown.name === 'AbortError' || thrown.name === 'TimeoutError');

export const isTransient = (thrown: unknown): boolean => transientCodes.has(codeOf(unwrapped(thrown)));

/** The server answered no TLS where TLS was tried. */
export const isPlainHttpServer = (thrown: unknown): boolean =>
  ['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER'].includes(codeOf(unwrapped(thrown)));

const unwrapped = (thrown: unknown): unknown => (thrown instanceof ContainerdError ? thrown.cause : thrown);
