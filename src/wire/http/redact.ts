/** Taking secrets out of what is written into errors, logs and traces. */

/** Query parameters that say what was asked for; the values of all others (signatures, tokens) are hidden. */
const openParameters = new Set([
  'ns',
  'scope',
  'service',
  'digest',
  'mount',
  'from',
  'n',
  'last',
  'artifactType',
]);

/** The URL without user, password and the values of query parameters that may be secret. */
export function redactUrl(url: URL): string {
  const copy = new URL(url);
  copy.username = '';
  copy.password = '';
  copy.hash = '';
  for (const name of new Set(copy.searchParams.keys()))
    if (!openParameters.has(name)) copy.searchParams.set(name, 'REDACTED');
  return copy.href;
}

/** A server's own words, safe for a terminal or a log: one line, no control characters, cut short. */
export function tameText(text: string, maxLength = 300): string {
  const line = text
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .replace(/ {2,}/g, ' ')
    .trim();
  return line.length > maxLength ? `${line.slice(0, maxLength)}…` : line;
}
