/**
 * Answers of registries and token servers: status, redirects, waits, challenges, digests, lengths, ranges, error
 * bodies. The whole client over a server that answers what the input says, one answer after the other.
 */
import assert from 'node:assert/strict';
import { digestOf } from '../../../src/base/digest.ts';
import { ContainerdError } from '../../../src/base/errors.ts';
import { limits } from '../../../src/base/limits.ts';
import { Authorizer } from '../../../src/core/registry/authorizer.ts';
import { planHosts } from '../../../src/core/registry/hosts.ts';
import { RegistryClient } from '../../../src/core/registry/registry-client.ts';
import { RegistrySession } from '../../../src/core/registry/registry-session.ts';
import { ResolutionTrace } from '../../../src/core/registry/resolution-trace.ts';
import { mediaTypes } from '../../../src/oci/media-types.ts';
import { parseReference } from '../../../src/oci/reference.ts';
import type { HttpRequest, HttpResponse, Send } from '../../../src/wire/http/message.ts';
import { followingRedirects } from '../../../src/wire/http/redirects.ts';
import { retrying } from '../../../src/wire/http/retry.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

const body = 'the content of a blob';
const digest = digestOf(body);
const offset = 4;
const secret = 'Basic c2VjcmV0';
const separator = '\n~\n';
const reference = parseReference(`registry.example/a/b@${digest}`);
const { hosts } = await planHosts(reference.host, { roots: [] });

interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: string;
}

/** `200`, lines `name: value`, an empty line, the body. */
function answerOf(text: string): Answer {
  const end = text.indexOf('\n\n');
  const [status = '', ...lines] = (end < 0 ? text : text.slice(0, end)).split('\n');
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), line.slice(colon + 1).trim()]);
  }
  const number = Number(status);
  const known = Number.isInteger(number) && number >= 200 && number <= 599;
  return { status: known ? number : 200, headers, body: end < 0 ? '' : text.slice(end + 2) };
}

const responseOf = (answer: Answer, { url }: HttpRequest): HttpResponse => ({
  status: answer.status,
  url,
  header: (name) => answer.headers.get(name)?.[0],
  headerValues: (name) => answer.headers.get(name) ?? [],
  body: (async function* () {
    await Promise.resolve();
    yield Buffer.from(answer.body);
  })(),
  [Symbol.asyncDispose]: async () => {},
});

/** A client whose requests are checked, and answered in turn; the last answer for ever. */
function clientOver(answers: readonly Answer[]): { client: RegistryClient; requests: HttpRequest[] } {
  const requests: HttpRequest[] = [];
  const server: Send = async (request) => {
    assert.match(request.url.protocol, /^https?:$/);
    if (request.url.host !== reference.host) assert.notEqual(request.headers['x-secret'], secret);
    requests.push(request);
    const answer = answers[Math.min(requests.length, answers.length) - 1];
    return responseOf(answer ?? assert.fail('no answer'), request);
  };
  const sleep = async (delayMs: number): Promise<void> => {
    assert.ok(delayMs >= 0 && delayMs <= limits.registryRetryAfterMaxMs, `a wait of ${delayMs} ms`);
  };
  const send = followingRedirects(retrying(server, { sleep }));
  const trace = new ResolutionTrace(reference.text);
  const authorizer = new Authorizer({ send, trace }, { reference: reference.text, credentials: undefined });
  const session = new RegistrySession(
    { send, authorizer, trace },
    { reference, hosts, headers: { 'x-secret': secret } },
  );
  return { client: new RegistryClient({ session, trace }), requests };
}

/** An error of no class of ours reads Unknown in the end; here it counts as what it was. */
function rethrow(error: unknown): never {
  const cause = error instanceof ContainerdError ? error.cause : error;
  if (cause instanceof Error && !(cause instanceof ContainerdError)) throw cause;
  throw error;
}

const described = `200\ncontent-type: ${mediaTypes.ociManifest}\ndocker-content-digest: ${digest}\ncontent-length: ${body.length}\n\n`;
const ranged = `206\ncontent-range: bytes ${offset}-20/21\ncontent-length: ${body.length - offset}\n\n${body.slice(offset)}`;
const challenged =
  '401\nwww-authenticate: Bearer realm="https://auth.example/t",service="s",scope="repository:a/b:pull"\n\n';
const token = '200\n\n{"token":"t","expires_in":300,"issued_at":"2024-01-01T00:00:00Z"}';

export const registryAnswer: FuzzTarget = {
  name: 'registry-answer',
  seeds: [
    [described, ranged].join(separator),
    [challenged, token, described, ranged].join(separator),
    [described, '307\nlocation: https://cdn.example/x?sig=y\n\n', ranged].join(separator),
    [described, '503\nretry-after: 1\n\n', ranged].join(separator),
    [described, `200\ncontent-length: ${body.length}\n\n${body}`].join(separator),
  ],
  hostile: [
    [challenged, '200\n\n{"token":{"toString":1},"expires_in":"x","issued_at":[]}'].join(separator),
    [challenged, '200\n\nnull'].join(separator),
    [challenged, `200\n\n{"token":"a\\r\\nb"}`].join(separator),
    '500\n\n{"errors":[null,1,"x",{"code":{},"message":[]}]}',
    '404\n\n{"errors":{"0":1}}',
    '301\nlocation: /loop\n\n',
    '307\nlocation: javascript:alert(1)\n\n',
    '429\nretry-after: 99999999999\n\n',
    '429\nretry-after: -1\n\n',
    [described, '206\ncontent-range: bytes 4-3/99999999999999999999\n\n'].join(separator),
    '401\nwww-authenticate: Bearer realm="http://"\n\n',
  ],
  words: [
    separator,
    '\n\n',
    '200',
    '206',
    '301',
    '307',
    '401',
    '404',
    '429',
    '503',
    'location: ',
    'retry-after: ',
    'content-range: bytes ',
    'content-length: ',
    'www-authenticate: ',
    'docker-content-digest: ',
    'https://',
    'Wed, 21 Oct 2099 07:28:00 GMT',
    '"errors":[',
  ],
  refusals: ['InvalidArgument', 'NotFound', 'Unauthenticated', 'PermissionDenied', 'Unavailable', 'Unknown'],
  async check(input) {
    const { client, requests } = clientOver(textOf(input).split(separator).map(answerOf));
    const { signal } = new AbortController();
    try {
      const descriptor = await client.resolve({ signal });
      assert.equal(descriptor.digest, digest);
      assert.ok(Number.isSafeInteger(descriptor.sizeBytes) && descriptor.sizeBytes >= 0);
      await using content = await client.fetch(descriptor, { offset, signal });
      assert.ok(content.offset === 0 || content.offset === offset);
    } catch (error) {
      rethrow(error);
    } finally {
      // Tries, redirects and second tries with a token, for two requests.
      const most = 20 * limits.registryAttempts * (limits.registryRedirects + 1);
      assert.ok(requests.length <= most, `${requests.length} requests`);
    }
  },
};
