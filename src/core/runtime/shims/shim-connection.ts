/**
 * One ttrpc connection to a shim, shared by all of its tasks, with a task client that speaks version 3 and falls back to
 * version 2 when the shim does not know it.
 */
import { hasCode } from '../../../base/errors.ts';
import { Task as TaskV2 } from '../../../wire/gen/containerd/runtime/task/v2/shim_pb.js';
import { Task as TaskV3 } from '../../../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import type { CallOptions, Client, Connection } from '../../../wire/service.ts';
import { connectionLost } from '../../../wire/ttrpc/channel.ts';
import { connectTtrpc } from '../../../wire/ttrpc/client.ts';
import { ShimStreams } from '../streams/attached-process.ts';
import type { ShimAddress } from './shim-address.ts';

export type TaskClient = Client<typeof TaskV3>;
type Method = keyof TaskClient;

export class ShimConnection implements AsyncDisposable {
  readonly address: string;
  readonly #connection: Connection;
  #client: TaskClient;
  #version: number;
  #closing = false;
  #lost = false;

  private constructor(connection: Connection, { address, version }: ShimAddress) {
    this.address = address;
    this.#connection = connection;
    this.#version = version;
    void connection.closed.then(() => {
      this.#lost = true;
    });
    this.#client = version >= 3 ? connection.client(TaskV3) : v2(connection);
  }

  /** Errors: Unavailable when nobody answers; Canceled, DeadlineExceeded. */
  static async open(address: ShimAddress, { signal }: { signal: AbortSignal }): Promise<ShimConnection> {
    return new ShimConnection(await connectTtrpc(address.address, { signal }), address);
  }

  /** Resolves when the connection has ended, for whatever reason. */
  get closed(): Promise<void> {
    return this.#connection.closed;
  }

  get isLost(): boolean {
    return this.#lost;
  }

  /** Whether `error` came of the end of the connection, and not from the shim; then it has ended when this resolves. */
  async lostBy(error: unknown): Promise<boolean> {
    if (!hasCode(error, 'Unavailable')) return false;
    // The first call to notice finds a socket that can only not be written to any more.
    if ((error as Error).message === connectionLost().message) await this.#connection[Symbol.asyncDispose]();
    return this.#lost;
  }

  /** Of a shim of ours; others answer Unimplemented. */
  get streams(): ShimStreams {
    return new ShimStreams({ connection: this.#connection });
  }

  /** Calls `onLost` once if the connection ends and we did not end it. */
  watch(onLost: () => void): void {
    void this.#connection.closed.then(() => {
      if (!this.#closing) onLost();
    });
  }

  /** Errors: what the shim answers; Unavailable when the connection is lost. */
  async call<M extends Method>(
    method: M,
    request: Parameters<TaskClient[M]>[0],
    options: CallOptions,
  ): Promise<Awaited<ReturnType<TaskClient[M]>>> {
    const perform = async (client: TaskClient): Promise<Awaited<ReturnType<TaskClient[M]>>> => {
      const caller = client[method] as (request: unknown, options: CallOptions) => ReturnType<TaskClient[M]>;
      return await caller(request, options);
    };
    try {
      return await perform(this.#client);
    } catch (error) {
      if (this.#version < 3 || !hasCode(error, 'Unimplemented')) throw error;
      const older = v2(this.#connection);
      const answer = await perform(older);
      // Only now it is known that the version was meant, and not the one method.
      this.#version = 2;
      this.#client = older;
      return answer;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    await this.#connection[Symbol.asyncDispose]();
  }
}

/** The messages of both versions are the same under two names. */
const v2 = (connection: Connection): TaskClient => connection.client(TaskV2) as unknown as TaskClient;
