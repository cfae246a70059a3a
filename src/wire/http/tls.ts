/** How a TLS connection is made and whom it trusts: text of PEM files, so that equal settings share connections. */
import { createHash } from 'node:crypto';

export interface TlsSettings {
  /** PEM; trusted beside the system's authorities. */
  readonly ca: readonly string[];
  readonly clients: readonly { readonly cert: string; readonly key: string }[];
  readonly skipVerify: boolean;
}

export const defaultTls: TlsSettings = { ca: [], clients: [], skipVerify: false };

export const isDefaultTls = (tls: TlsSettings): boolean =>
  tls.ca.length === 0 && tls.clients.length === 0 && !tls.skipVerify;

/** Equal for equal settings; holds no key material. */
export const tlsFingerprint = (tls: TlsSettings): string =>
  createHash('sha256').update(JSON.stringify(tls)).digest('hex');
