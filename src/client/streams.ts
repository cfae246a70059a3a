/**
 * Streams beside a call (containerd.services.streaming): each has a name, made by us, that a transfer refers to.
 * The daemon answers the first message once it knows the name; only then may the name be used.
 */
import { randomBytes } from 'node:crypto';
import type { Any } from '@bufbuild/protobuf/wkt';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../base/any-value.ts';
import { AsyncQueue } from '../base/async-queue.ts';
import { unavailable } from '../base/errors.ts';
import { anyToWire, packAny, typeNameOf } from '../wire/any.ts';
import { StreamInitSchema, Streaming } from '../wire/gen/containerd/services/streaming/v1/streaming_pb.js';
import type { Call, Scope } from './scope.ts';

/** Closing it is the caller's. Iterate `received` once. */
export interface DaemonStream extends AsyncDisposable {
  readonly id: string;
  readonly received: AsyncIterable<AnyValue>;
  send(value: AnyValue): void;
}

/** Errors: Unimplemented when the daemon has no streams (containerd before 1.7). */
export async function openStream(scope: Scope, purpose: string, call: Call = {}): Promise<DaemonStream> {
  const id = `${purpose}-${randomBytes(9).toString('hex')}`;
  const requests = new AsyncQueue<Any>();
  const aborter = new AbortController();
  const signal = call.signal === undefined ? aborter.signal : AbortSignal.any([call.signal, aborter.signal]);
  requests.push(anyToWire(packAny(StreamInitSchema, { id })));
  const stream = scope.client(Streaming).stream(requests, scope.options({ ...call, signal }));
  const replies = stream[Symbol.asyncIterator]();
  const first = await replies.next();
  if (first.done === true || typeNameOf(first.value) !== EmptySchema.typeName)
    throw unavailable(`the daemon did not take stream ${id}`);
  async function* received(): AsyncGenerator<AnyValue, void> {
    for (let next = await replies.next(); next.done !== true; next = await replies.next())
      yield { typeUrl: next.value.typeUrl, value: next.value.value };
  }
  return {
    id,
    received: received(),
    send: (value) => requests.push(anyToWire(value)),
    [Symbol.asyncDispose]: async () => {
      requests.end();
      aborter.abort();
      // Nobody may be iterating: then this is what takes note of the abort.
      await replies.next().catch(() => undefined);
    },
  };
}
