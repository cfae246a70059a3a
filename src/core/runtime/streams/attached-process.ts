/**
 * The daemon's side of the shim's Streams service: an attached process as plain streams, with the credit of both
 * directions kept here. A consumer that does not read holds up nobody but, if it asked for that, its own process.
 */

import type { MessageInitShape } from '@bufbuild/protobuf';
import { AsyncQueue } from '../../../base/async-queue.ts';
import type { NamespacedContext } from '../../../base/context.ts';
import { canceled, unavailable } from '../../../base/errors.ts';
import type { AttachRequestSchema } from '../../../wire/gen/gantry/shim/v1/streams_pb.js';
import { Streams } from '../../../wire/gen/gantry/shim/v1/streams_pb.js';
import type { Client, Connection } from '../../../wire/service.ts';
import type { ProcessTarget } from '../task-manager.ts';

type Request = MessageInitShape<typeof AttachRequestSchema>;

export interface AttachTarget {
  readonly namespace: string;
  readonly id: string;
  /** "" for init. */
  readonly execId: string;
}

export const streamTarget = (
  { namespace }: NamespacedContext,
  { containerId, execId }: ProcessTarget,
): AttachTarget => ({ namespace, id: containerId, execId: execId ?? '' });

export interface AttachStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** The process waits for this client when it is slow, which else is dropped with ResourceExhausted. */
  readonly lossless: boolean;
}

export interface AttachedOutput {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Uint8Array;
}

/** What the shim may send ahead of the consumer. */
const creditBytes = 512 * 1024;
/** Of stdin in one message. */
const chunkBytes = 64 * 1024;

/** Clients of the shims' Streams service. */
export class ShimStreams {
  readonly #client: Client<typeof Streams>;

  constructor({ connection }: { readonly connection: Pick<Connection, 'client'> }) {
    this.#client = connection.client(Streams);
  }

  /**
   * Resolves when the process's output from now on will come; it may be attached to before its start.
   * Errors: NotFound; FailedPrecondition when its streams are not `cri:` ones; Unimplemented by a foreign shim.
   */
  async attach({ namespace, id, execId }: AttachTarget, streams: AttachStreams): Promise<AttachedProcess> {
    const requests = new AsyncQueue<Request>();
    requests.push({ message: { case: 'open', value: { id, execId, ...streams, creditBytes } } });
    const responses = this.#client.attach(requests, { namespace })[Symbol.asyncIterator]();
    try {
      const first = await responses.next();
      if (first.done === true || first.value.message.case !== 'attached')
        throw unavailable('the shim did not say that the client is attached');
      return new AttachedProcess(requests, responses, first.value.message.value.creditBytes);
    } catch (error) {
      requests.end();
      throw error;
    }
  }

  /** Between two lines. Errors: NotFound; FailedPrecondition without a log; what opening the path says. */
  async reopen({ namespace, id, execId }: AttachTarget): Promise<void> {
    await this.#client.reopen({ id, execId }, { namespace });
  }
}

type Responses = AsyncIterator<{
  readonly message:
    | { readonly case: 'stdout' | 'stderr'; readonly value: Uint8Array }
    | { readonly case: 'creditBytes'; readonly value: number }
    | { readonly case: 'attached'; readonly value: object }
    | { readonly case: undefined; readonly value?: undefined };
}>;

export class AttachedProcess implements AsyncDisposable {
  readonly #requests: AsyncQueue<Request>;
  readonly #output = new AsyncQueue<AttachedOutput>();
  readonly #received: Promise<void>;
  #inputCredit: number;
  #wake: (() => void) | undefined;
  #isOver = false;

  constructor(requests: AsyncQueue<Request>, responses: Responses, inputCredit: number) {
    this.#requests = requests;
    this.#inputCredit = inputCredit;
    this.#received = this.#receive(responses);
  }

  /**
   * To be iterated once; ends with the process's output. Errors: ResourceExhausted when this client was too slow,
   * Unavailable when the shim is gone (attach again).
   */
  async *output(): AsyncGenerator<AttachedOutput, void> {
    for await (const chunk of this.#output) {
      yield chunk;
      this.#requests.push({ message: { case: 'creditBytes', value: chunk.bytes.length } });
    }
  }

  /** Resolves when more may be written. Input for a process that has ended is dropped. Errors: Canceled by `signal`. */
  async write(bytes: Uint8Array, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const wake = (): void => this.#wake?.();
    signal?.addEventListener('abort', wake);
    try {
      for (let at = 0; at < bytes.length && !this.#isOver; ) {
        if (signal?.aborted === true) throw canceled('writing to the process was given up');
        if (this.#inputCredit === 0) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        const value = bytes.subarray(at, at + Math.min(chunkBytes, this.#inputCredit));
        this.#inputCredit -= value.length;
        at += value.length;
        this.#requests.push({ message: { case: 'stdin', value } });
      }
    } finally {
      signal?.removeEventListener('abort', wake);
    }
  }

  /** No more input: the end for a process whose stdin is for one client (`cri://?once`), a farewell else. */
  closeStdin(): void {
    this.#requests.push({ message: { case: 'closeStdin', value: {} } });
  }

  /** Leaves; the process goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#requests.end();
    this.#output[Symbol.dispose]();
    await this.#received;
  }

  async #receive(responses: Responses): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await responses.next();
        if (done === true) break;
        const { message } = value;
        if (message.case === 'stdout' || message.case === 'stderr')
          this.#output.push({ stream: message.case, bytes: message.value });
        else if (message.case === 'creditBytes') this.#inputCredit += message.value;
        this.#wake?.();
      }
      this.#output.end();
    } catch (error) {
      this.#output.end(error);
    } finally {
      this.#isOver = true;
      this.#requests.end();
      this.#wake?.();
    }
  }
}
