/**
 * containerd.services.streaming.v1: the first message names the stream, the answer says that the name may be used; what
 * follows is between the client and whatever call refers to the name. The stream ends when that call is done with it.
 */

import { EmptySchema } from '@bufbuild/protobuf/wkt';
import { requireNamespace } from '../base/context.ts';
import { invalidArgument } from '../base/errors.ts';
import { ServedStream } from '../core/streaming/served-stream.ts';
import type { StreamManager } from '../core/streaming/stream-manager.ts';
import { anyToWire, unpackAny } from '../wire/any.ts';
import { StreamInitSchema, Streaming } from '../wire/gen/containerd/services/streaming/v1/streaming_pb.js';
import { untilAborted } from '../wire/iteration.ts';
import { type ServedService, serve } from '../wire/service.ts';

export const streamingService = ({ streams }: { streams: StreamManager }): ServedService =>
  serve(Streaming, {
    async *stream(context, requests) {
      const ctx = requireNamespace(context);
      const messages = requests[Symbol.asyncIterator]();
      const first = await messages.next();
      if (first.done === true) throw invalidArgument('the first message must be a StreamInit');
      const { id } = unpackAny(StreamInitSchema, first.value);
      const stream = new ServedStream(messages);
      using _closing = { [Symbol.dispose]: () => stream.abandon() };
      using _name = streams.register(ctx.namespace, id, stream, { lease: ctx.lease });
      yield anyToWire({ typeUrl: EmptySchema.typeName, value: new Uint8Array() });
      for await (const value of untilAborted(stream.values(), ctx.signal)) yield anyToWire(value);
    },
  });
