/**
 * The credentials that come with a pull (the AuthConfig of the CRI), for this one call. The kubelet fills in what the
 * pull secret has: user and password, both in one text, an identity token, or a token of the registry's own.
 *
 * Differs from containerd, which ignores registry tokens and takes a server address only with a scheme.
 */
import { invalidArgument } from '../base/errors.ts';
import type { CredentialSource, Credentials } from '../core/transfer/transfer.ts';
import type { AuthConfig } from '../wire/gen/runtime/v1/image_pb.js';

/** Undefined without credentials. */
export function credentialsOf(auth: AuthConfig | undefined): CredentialSource | undefined {
  if (auth === undefined || isEmpty(auth)) return undefined;
  return async ({ host }) => (isFor(auth.serverAddress, host) ? readCredentials(auth) : { kind: 'none' });
}

type GivenAuth = Omit<AuthConfig, '$typeName' | '$unknown'>;

const isEmpty = ({ username, password, auth, identityToken, registryToken }: GivenAuth): boolean =>
  [username, password, auth, identityToken, registryToken].every((text) => text === '');

/** Errors: InvalidArgument, without the secret. */
function readCredentials({ username, password, auth, identityToken, registryToken }: GivenAuth): Credentials {
  if (username !== '') return { kind: 'basic', username, secret: password };
  if (identityToken !== '') return { kind: 'refresh', token: identityToken };
  if (auth !== '') return decodeAuth(auth);
  if (registryToken !== '') return { kind: 'header', value: `Bearer ${registryToken}` };
  throw invalidArgument('the pull credentials have a password without a user: give both, or a token');
}

/** `user:password` in base64, standard or URL-safe, with or without padding. Docker pads the password with NULs. */
function decodeAuth(auth: string): Credentials {
  const fail = (): never => {
    throw invalidArgument('auth of the pull credentials must be user:password in base64');
  };
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(auth)) return fail();
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon === -1) return fail();
  return {
    kind: 'basic',
    username: text.slice(0, colon),
    secret: text.slice(colon + 1).replaceAll('\0', ''),
  };
}

/** Docker Hub goes by several names. */
const hubHosts: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** An address may be `host`, `host:port` or a URL; "" is any host. */
function isFor(serverAddress: string, host: string): boolean {
  if (serverAddress === '') return true;
  const url = URL.parse(serverAddress.includes('://') ? serverAddress : `https://${serverAddress}`);
  if (url === null) return false;
  return url.host === host || (hubHosts.has(url.host) && hubHosts.has(host));
}
