/** The HTTP client's parts: which proxy, what is hidden, when it tries again, where an authorization goes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { ContainerdError, hasCode, unavailable } from '../../base/errors.ts';
import { readBody, readErrorMessage } from './body.ts';
import { requestFailed } from './failure.ts';
import type { HttpRequest, HttpResponse, Send } from './message.ts';
import { proxyFor } from './proxy.ts';
import { redactUrl, tameText } from './redact.ts';
import { followingRedirects } from './redirects.ts';
import { parseRetryAfterMs, retrying } from './retry.ts';

function response(
  status: number,
  {
    headers = {},
    body = '',
    url = 'https://reg.example/v2/',
  }: { headers?: Record<string, string>; body?: string; url?: string } = {},
): HttpResponse {
  return {
    status,
    url: new URL(url),
    header: (name) => headers[name],
    headerValues: (name) => (headers[name] === undefined ? [] : [headers[name]]),
    body: (async function* () {
      await Promise.resolve();
      yield Buffer.from(body);
    })(),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Answers one after the other, and keeps what it was asked. */
function scripted(answers: (HttpResponse | Error)[]): { send: Send; requests: HttpRequest[] } {
  const requests: HttpRequest[] = [];
  const send: Send = async (request) => {
    requests.push(request);
    const answer = answers[requests.length - 1];
    if (answer === undefined) throw new Error('asked once too often');
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { send, requests };
}

const get = (url = 'https://reg.example/v2/a', headers: Record<string, string> = {}): HttpRequest => ({
  method: 'GET',
  url: new URL(url),
  headers,
});
const reset = (): Error => unavailable('reset', Object.assign(new Error('reset'), { code: 'ECONNRESET' }));

void describe('proxyFor', () => {
  const env = {
    HTTP_PROXY: 'proxy:3128',
    https_proxy: 'http://secure:3129',
    NO_PROXY: 'internal,.corp.example, 10.0.0.0/8,[fd00::1],only:8443',
  };
  const table: [url: string, proxy: string | undefined][] = [
    ['http://a.example/', 'http://proxy:3128/'],
    ['https://a.example/', 'http://secure:3129/'],
    ['https://localhost:5000/', undefined],
    ['http://127.9.9.9/', undefined],
    ['http://[::1]:80/', undefined],
    ['https://internal/', undefined],
    ['https://x.internal/', undefined],
    ['https://notinternal/', 'http://secure:3129/'],
    ['https://reg.corp.example/', undefined],
    ['https://corp.example/', 'http://secure:3129/'],
    ['http://10.1.2.3/', undefined],
    ['http://11.1.2.3/', 'http://proxy:3128/'],
    ['http://[fd00::1]/', undefined],
    ['https://only:8443/', undefined],
    ['https://only/', 'http://secure:3129/'],
  ];
  for (const [url, proxy] of table)
    void it(`${url} goes ${proxy === undefined ? 'straight' : `through ${proxy}`}`, () =>
      assert.equal(proxyFor(new URL(url), env)?.href, proxy));
  void it('without variables nothing is proxied, with * neither', () => {
    assert.equal(proxyFor(new URL('https://a.example/'), {}), undefined);
    assert.equal(proxyFor(new URL('https://a.example/'), { HTTPS_PROXY: 'p:1', NO_PROXY: '*' }), undefined);
  });
});

void describe('redaction', () => {
  void it('hides users, passwords and signatures, and keeps what was asked for', () => {
    const text = redactUrl(
      new URL('https://user:pw@s.example/v2/x?ns=docker.io&X-Amz-Signature=abc&token=t#f'),
    );
    assert.equal(text, 'https://s.example/v2/x?ns=docker.io&X-Amz-Signature=REDACTED&token=REDACTED');
  });
  void it('tames what a server says', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
        const tame = tameText(text);
        assert.ok(tame.length <= 301 && !/[\p{Cc}]/u.test(tame));
      }),
    );
  });
});

void describe('retrying', () => {
  const waits = (): { delays: number[]; sleep: (delayMs: number) => Promise<void> } => {
    const delays: number[] = [];
    return { delays, sleep: async (delayMs) => void delays.push(delayMs) };
  };
  void it('tries again after resets and busy servers, waiting longer each time', async () => {
    const { send, requests } = scripted([reset(), response(503), response(429), response(200)]);
    const { delays, sleep } = waits();
    const answer = await retrying(send, { sleep, backoffMs: 100 })(get());
    assert.deepEqual([answer.status, requests.length], [200, 4]);
    for (const [index, delay] of delays.entries())
      assert.ok(delay >= 50 * 2 ** index && delay <= 100 * 2 ** index, `wait ${index} is ${delay} ms`);
  });
  void it('waits as long as the server says', async () => {
    const { send } = scripted([response(429, { headers: { 'retry-after': '7' } }), response(200)]);
    const { delays, sleep } = waits();
    await retrying(send, { sleep })(get());
    assert.deepEqual(delays, [7000]);
  });
  void it('gives up at once when the server wants longer than anybody waits', async () => {
    const { send, requests } = scripted([response(429, { headers: { 'retry-after': '86400' } })]);
    assert.equal((await retrying(send, waits())(get())).status, 429);
    assert.equal(requests.length, 1);
  });
  void it('hands the last answer on', async () => {
    const { send, requests } = scripted([response(502), response(502)]);
    assert.equal((await retrying(send, { ...waits(), attempts: 2 })(get())).status, 502);
    assert.equal(requests.length, 2);
  });
  void it('does not repeat refusals, refused connections and streams', async () => {
    for (const [answer, request] of [
      [response(404), get()],
      [unavailable('x', Object.assign(new Error('no'), { code: 'ECONNREFUSED' })), get()],
      [response(503), { ...get(), method: 'PUT', body: (async function* () {})() }],
    ] as [HttpResponse | Error, HttpRequest][]) {
      const { send, requests } = scripted([answer]);
      await retrying(send, waits())(request).catch(() => {});
      assert.equal(requests.length, 1);
    }
  });
  void it('stops waiting when it is cancelled', async () => {
    const aborter = new AbortController();
    const { send } = scripted([response(503)]);
    const pending = retrying(send, { onRetry: () => aborter.abort() })({ ...get(), signal: aborter.signal });
    await assert.rejects(pending, (error) => hasCode(error, 'Canceled'));
  });
  void it('reads Retry-After as seconds and as a date', () => {
    assert.equal(parseRetryAfterMs('3', 0), 3000);
    assert.equal(parseRetryAfterMs('Thu, 01 Jan 1970 00:00:05 GMT', 2000), 3000);
    assert.equal(parseRetryAfterMs('Thu, 01 Jan 1970 00:00:05 GMT', 9000), 0);
    for (const text of [undefined, '', 'soon', '-1', '1e3'])
      assert.ok((parseRetryAfterMs(text, 0) ?? 0) >= 0);
  });
});

void describe('followingRedirects', () => {
  const secret = { authorization: 'Bearer s', accept: 'x/y', range: 'bytes=5-', 'x-company': 'k' };
  void it('takes secrets along within the origin only', async () => {
    const { send, requests } = scripted([
      response(307, { headers: { location: '/v2/b' } }),
      response(302, { headers: { location: 'https://blobs.example/b?sig=1' } }),
      response(200),
    ]);
    await followingRedirects(send)(get('https://reg.example/v2/a', secret));
    assert.deepEqual(requests[1]?.headers, secret);
    assert.deepEqual(requests[2]?.headers, { accept: 'x/y', range: 'bytes=5-' });
    assert.equal(requests[2]?.url.href, 'https://blobs.example/b?sig=1');
  });
  void it('another port and another scheme are another origin', async () => {
    for (const location of ['https://reg.example:444/b', 'http://reg.example/b']) {
      const { send, requests } = scripted([response(307, { headers: { location } }), response(200)]);
      await followingRedirects(send)(get('https://reg.example/v2/a', secret));
      assert.equal(requests[1]?.headers['authorization'], undefined);
    }
  });
  void it('ends in a circle', async () => {
    const circle = Array.from({ length: 20 }, () => response(302, { headers: { location: '/v2/a' } }));
    const { send } = scripted(circle);
    await assert.rejects(followingRedirects(send, 3)(get()), /more than 3 redirects/);
  });
  void it('refuses to leave http', async () => {
    const { send } = scripted([response(302, { headers: { location: 'file:///etc/passwd' } })]);
    await assert.rejects(followingRedirects(send)(get()), /no http address/);
  });
  void it('leaves uploads alone', async () => {
    const { send, requests } = scripted([response(307, { headers: { location: '/x' } })]);
    assert.equal((await followingRedirects(send)({ ...get(), method: 'PUT' })).status, 307);
    assert.equal(requests.length, 1);
  });
});

void describe('answers', () => {
  void it('are read up to a bound', async () => {
    await assert.rejects(readBody(response(200, { body: 'x'.repeat(100) }), 99), /more than the 99 bytes/);
    assert.equal((await readBody(response(200, { body: 'x'.repeat(100) }), 100)).byteLength, 100);
  });
  void it('tell why in the words of the server', async () => {
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'no\u001b[31m way' }] });
    assert.equal(await readErrorMessage(response(403, { body })), 'DENIED: no [31m way');
    assert.equal(await readErrorMessage(response(403, { body: '<html>...</html>' })), '');
    assert.equal(await readErrorMessage(response(403, { body: '{"details":"bad"}' })), 'bad');
    assert.equal(await readErrorMessage(response(403, { body: 'null' })), 'null');
  });
  void it('failures say what to do and keep secrets', () => {
    const cause = Object.assign(new Error('x'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    const error = requestFailed('GET', new URL('https://u:p@h/v2/?sig=abc'), cause);
    assert.ok(error instanceof ContainerdError && error.code === 'Unavailable');
    assert.match(error.message, /self-signed.*hosts\.toml/);
    assert.doesNotMatch(error.message, /u:p|abc/);
  });
});
