/**
 * Redirects followed by hand, because they lead from a registry to the storage of somebody else: beyond the origin
 * only harmless headers go along, never an authorization or what hosts.toml adds.
 */
import { unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { discardBody } from './body.ts';
import type { HttpRequest, HttpResponse, Send } from './message.ts';
import { redactUrl, tameText } from './redact.ts';

const redirectStatuses = new Set([301, 302, 303, 307, 308]);
const harmlessHeaders = new Set(['accept', 'accept-encoding', 'range', 'user-agent']);

/** GET and HEAD only; an answer to another method is handed back as it is. Errors: Unavailable. */
export function followingRedirects(send: Send, maxRedirects: number = limits.registryRedirects): Send {
  return async (first) => {
    let request: HttpRequest = first;
    for (let followed = 0; ; followed += 1) {
      const response = await send(request);
      const location = response.header('location');
      const follows = request.method === 'GET' || request.method === 'HEAD';
      if (!follows || !redirectStatuses.has(response.status) || location === undefined) return response;
      await discardBody(response);
      if (followed >= maxRedirects)
        throw unavailable(`${first.method} ${redactUrl(first.url)}: more than ${maxRedirects} redirects`);
      request = redirected(request, response, location);
    }
  };
}

function redirected(request: HttpRequest, response: HttpResponse, location: string): HttpRequest {
  const url = URL.parse(location, response.url.href);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw unavailable(
      `${request.method} ${redactUrl(request.url)}: redirected to ${JSON.stringify(tameText(location, 100))}, which is no http address`,
    );
  if (url.origin === request.url.origin) return { ...request, url };
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => harmlessHeaders.has(name)),
  );
  return { ...request, url, headers };
}
