/** One-time tokens: whoever has the URL may do what was asked for, once, within a minute. */
import { randomBytes } from 'node:crypto';
import { resourceExhausted } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';

interface Pending<Request> {
  readonly request: Request;
  readonly expiresAtMs: number;
}

export class TokenStore<Request> {
  /** In the order of their expiry. */
  readonly #pending = new Map<string, Pending<Request>>();
  readonly #nowMs: () => number;

  constructor({ nowMs = () => performance.now() }: { readonly nowMs?: () => number } = {}) {
    this.#nowMs = nowMs;
  }

  /** 8 characters that are safe in a path: 48 random bits. Errors: ResourceExhausted when too many wait for use. */
  issue(request: Request): string {
    this.#dropExpired();
    if (this.#pending.size >= limits.criStreamTokens)
      throw resourceExhausted(
        `maximum number of in-flight requests exceeded: ${limits.criStreamTokens} streaming URLs are unused, try again within a minute`,
      );
    let token = randomBytes(6).toString('base64url');
    while (this.#pending.has(token)) token = randomBytes(6).toString('base64url');
    this.#pending.set(token, { request, expiresAtMs: this.#nowMs() + limits.criStreamTokenMs });
    return token;
  }

  /** What the token stands for; undefined when it is unknown, used or too old. */
  take(token: string): Request | undefined {
    this.#dropExpired();
    const pending = this.#pending.get(token);
    this.#pending.delete(token);
    return pending?.request;
  }

  #dropExpired(): void {
    const nowMs = this.#nowMs();
    for (const [token, { expiresAtMs }] of this.#pending) {
      if (expiresAtMs > nowMs) return;
      this.#pending.delete(token);
    }
  }
}
