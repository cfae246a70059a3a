/** Small answers read whole, never more of them than allowed. */
import { unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { HttpResponse } from './message.ts';
import { redactUrl, tameText } from './redact.ts';

/** Errors: Unavailable when it is longer than `maxBytes`. */
export async function readBody(response: HttpResponse, maxBytes = limits.registryBodyBytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > maxBytes)
      throw unavailable(`${redactUrl(response.url)}: the answer has more than the ${maxBytes} bytes allowed`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, sizeBytes);
}

/** Reads a small body to its end, so that the connection can be used again, and cuts a large one. */
export async function discardBody(response: HttpResponse): Promise<void> {
  try {
    await readBody(response, 64 * 1024);
  } catch {
    // Only the connection is lost with it.
  } finally {
    await response[Symbol.asyncDispose]();
  }
}

/**
 * What a server says about its refusal: the messages of the distribution spec's error body, or the text as it is,
 * on one tame line; "" for nothing readable.
 */
export async function readErrorMessage(response: HttpResponse): Promise<string> {
  try {
    const text = (await readBody(response)).toString('utf8');
    return tameText(errorMessages(text) ?? (text.trimStart().startsWith('<') ? '' : text));
  } catch {
    return '';
  } finally {
    await response[Symbol.asyncDispose]();
  }
}

function errorMessages(text: string): string | undefined {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof document !== 'object' || document === null) return undefined;
  const { errors, details, message } = document as Record<string, unknown>;
  if (Array.isArray(errors))
    return errors
      .slice(0, 5)
      .map((entry: unknown) => {
        const { code, message: reason } = (entry ?? {}) as Record<string, unknown>;
        return [code, reason].filter((part) => typeof part === 'string' && part !== '').join(': ');
      })
      .join('; ');
  // Token servers answer in one of these shapes.
  return [details, message].find((part) => typeof part === 'string');
}
