/**
 * A client that lives through the death of its daemon: a call that was cut off is made again until somebody has
 * answered it. What the first try may have done already is the business of the caller.
 */
import {
  ContainerdError,
  connect,
  type ErrorCode,
  type GantryClient,
  hasCode,
} from '../../src/client/index.ts';
import { until } from '../../src/testing/until.ts';

/** The daemon is gone, or was going. */
const cutOff: readonly ErrorCode[] = ['Unavailable', 'Canceled', 'Aborted'];
const patienceMs = 60_000;

export class LastingClient implements AsyncDisposable {
  readonly #address: string;
  readonly #namespace: string;
  #client: GantryClient;

  constructor(address: string, namespace: string) {
    this.#address = address;
    this.#namespace = namespace;
    this.#client = connect({ address, namespace });
  }

  /**
   * `already` are the codes or the words by which a repeated call says that an earlier try did the work: then the answer
   * is undefined. From a first try they are errors.
   */
  async call<T>(
    what: string,
    perform: (client: GantryClient) => Promise<T>,
    { already = [] }: { already?: readonly (ErrorCode | RegExp)[] } = {},
  ): Promise<T | undefined> {
    let answer: { value: T | undefined } | undefined;
    let failure: unknown;
    let tries = 0;
    await until(
      `${what} is answered`,
      async () => {
        tries += 1;
        try {
          answer = { value: await perform(this.#client) };
        } catch (error) {
          if (cutOff.some((code) => hasCode(error, code))) {
            await this.#reconnect();
            throw error;
          }
          if (tries > 1 && already.some((sign) => isSignOf(error, sign))) answer = { value: undefined };
          else failure = new Error(`${what}: ${ContainerdError.from(error).message}`, { cause: error });
        }
        return true;
      },
      { timeoutMs: patienceMs },
    );
    if (failure !== undefined) throw failure;
    return answer?.value;
  }

  async #reconnect(): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
    this.#client = connect({ address: this.#address, namespace: this.#namespace });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}

const isSignOf = (error: unknown, sign: ErrorCode | RegExp): boolean =>
  typeof sign === 'string' ? hasCode(error, sign) : sign.test(ContainerdError.from(error).message);
