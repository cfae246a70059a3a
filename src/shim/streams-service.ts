/**
 * Our own service beside the task API: clients attach to processes whose streams pass through the shim, and logs are
 * opened anew. See streams.proto for the exchange.
 */

import type { MessageInitShape } from '@bufbuild/protobuf';
import { AsyncQueue } from '../base/async-queue.ts';
import type { Context } from '../base/context.ts';
import { failedPrecondition, invalidArgument, resourceExhausted, wrap } from '../base/errors.ts';
import {
  type AttachRequest,
  type AttachResponseSchema,
  Streams,
} from '../wire/gen/gantry/shim/v1/streams_pb.js';
import { type Handlers, type ServedService, serve } from '../wire/service.ts';
import type { Attachment } from './io/attachments.ts';
import type { TaskProcess } from './process/task-process.ts';
import type { Shim } from './shim.ts';

/** Input that a client may send ahead. */
const inputBytesMax = 256 * 1024;

type Response = MessageInitShape<typeof AttachResponseSchema>;

export function streamsService(shim: Shim): ServedService {
  const find = (
    ctx: Context,
    { id, execId }: { readonly id: string; readonly execId: string },
  ): TaskProcess => shim.get(shim.namespaceOf(ctx), id).process(execId);
  return serve(Streams, {
    attach: (ctx, requests) => attach((open) => find(ctx, open), ctx, requests),
    reopen: async (ctx, request) => {
      try {
        find(ctx, request).reopenLog();
      } catch (error) {
        throw wrap('the log cannot be opened anew', error);
      }
      return {};
    },
  } satisfies Handlers<typeof Streams>);
}

async function* attach(
  find: (open: { readonly id: string; readonly execId: string }) => TaskProcess,
  ctx: Context,
  requests: AsyncIterable<AttachRequest>,
): AsyncGenerator<Response, void> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  const open = first.done === true ? undefined : first.value.message;
  if (open?.case !== 'open') throw invalidArgument('an attach begins with what to attach to');
  const { id, execId, stdin, stdout, stderr, lossless, creditBytes } = open.value;
  const { attachments } = find(open.value);
  if (attachments === undefined)
    throw failedPrecondition(
      `process ${execId || id} has streams of its own: only one with a cri: URI can be attached to`,
    );
  const client = attachments.attach({ stdin, stdout, stderr, lossless });
  const responses = new AsyncQueue<Response>();
  const leave = (): void => client.leave();
  ctx.signal.addEventListener('abort', leave, { once: true });
  try {
    client.grant(creditBytes);
    yield { message: { case: 'attached', value: { creditBytes: inputBytesMax } } };
    void takeRequests(client, incoming, responses).then(
      () => client.leave(),
      (error: unknown) => responses.end(error),
    );
    void takeOutput(client, responses).then(
      () => responses.end(),
      (error: unknown) => responses.end(error),
    );
    yield* responses;
  } finally {
    ctx.signal.removeEventListener('abort', leave);
    client.leave();
    responses[Symbol.dispose]();
  }
}

/** Ends with the client's farewell. */
async function takeRequests(
  client: Attachment,
  incoming: AsyncIterator<AttachRequest>,
  responses: AsyncQueue<Response>,
): Promise<void> {
  const input = new AsyncQueue<Uint8Array>();
  const waiting = { bytes: 0 };
  const written = takeInput(client, input, (taken) => {
    waiting.bytes -= taken;
    responses.push({ message: { case: 'creditBytes', value: taken } });
  });
  // Heard of below; until then it is nobody's.
  written.catch((error: unknown) => responses.end(error));
  try {
    for (;;) {
      const { done, value } = await incoming.next();
      if (done === true) break;
      switch (value.message.case) {
        case 'stdin':
          waiting.bytes += value.message.value.length;
          if (waiting.bytes > inputBytesMax) throw resourceExhausted('more input came than was asked for');
          input.push(value.message.value);
          break;
        case 'closeStdin':
          input.end();
          break;
        case 'creditBytes':
          client.grant(value.message.value);
          break;
        default:
          throw invalidArgument('an attach takes input and credit only');
      }
    }
  } finally {
    input[Symbol.dispose]();
  }
}

async function takeInput(
  client: Attachment,
  input: AsyncQueue<Uint8Array>,
  onTaken: (bytes: number) => void,
): Promise<void> {
  for await (const bytes of input) {
    await client.write(bytes);
    onTaken(bytes.length);
  }
  client.closeInput();
}

async function takeOutput(client: Attachment, responses: AsyncQueue<Response>): Promise<void> {
  for await (const { name, bytes } of client.chunks())
    responses.push({ message: { case: name, value: bytes } });
}
