/**
 * Second tries: for 429 and 5xx answers and for connections that broke, with growing, jittered waits, or as long as the
 * server's Retry-After says. What cannot be sent again (a streamed body) is not.
 */
import { backoffMs, jittered, pause } from '../../base/backoff.ts';
import { ContainerdError } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { discardBody } from './body.ts';
import { isTransient } from './failure.ts';
import type { HttpRequest, HttpResponse, Send } from './message.ts';

export interface RetryOptions {
  /** Tries in all, at least 1. */
  readonly attempts?: number;
  readonly backoffMs?: number;
  readonly maxBackoffMs?: number;
  /** For tests. */
  readonly sleep?: (delayMs: number, signal: AbortSignal | undefined) => Promise<void>;
  readonly onRetry?: (reason: string, delayMs: number) => void;
}

const retriedStatuses = new Set([408, 429, 500, 502, 503, 504]);

/** After the last try, its answer or error as it is. */
export function retrying(send: Send, options: RetryOptions = {}): Send {
  const attempts = options.attempts ?? limits.registryAttempts;
  const sleep = options.sleep ?? pause;
  const backoff = {
    firstMs: options.backoffMs ?? limits.registryBackoffMs,
    maxMs: options.maxBackoffMs ?? limits.registryBackoffMaxMs,
  };
  return async (request) => {
    for (let attempt = 1; ; attempt += 1) {
      const last = attempt >= attempts || !canRepeat(request);
      const outcome = await attemptOnce(send, request, last);
      if ('response' in outcome) return outcome.response;
      const delayMs = outcome.retryAfterMs ?? jittered(backoffMs(attempt, backoff));
      options.onRetry?.(outcome.reason, delayMs);
      await sleep(delayMs, request.signal);
    }
  };
}

type Outcome = { response: HttpResponse } | { reason: string; retryAfterMs: number | undefined };

async function attemptOnce(send: Send, request: HttpRequest, last: boolean): Promise<Outcome> {
  let response: HttpResponse;
  try {
    response = await send(request);
  } catch (error) {
    if (last || !isTransient(error)) throw error;
    return { reason: ContainerdError.from(error).message, retryAfterMs: undefined };
  }
  if (last || !retriedStatuses.has(response.status)) return { response };
  const retryAfterMs = parseRetryAfterMs(response.header('retry-after'), Date.now());
  if (retryAfterMs !== undefined && retryAfterMs > limits.registryRetryAfterMaxMs) return { response };
  await discardBody(response);
  return { reason: `status ${response.status}`, retryAfterMs };
}

const canRepeat = ({ body }: HttpRequest): boolean => body === undefined || body instanceof Uint8Array;

/** Seconds or an HTTP date (RFC 9110, section 10.2.3); undefined when there is none or it makes no sense. */
export function parseRetryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1000;
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(dateMs - nowMs, 0);
}
