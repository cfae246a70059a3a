/**
 * The story of Content.Write: one ingest under its lock, for as long as the stream lasts.
 *
 * The first message names the ref; each message is answered; COMMIT ends the stream. What is there stays for a later
 * resume when the client goes away. An offset above 0 must be where the ingest ends; an offset of 0 starts the ingest
 * over. At the end the last answer is sent once more, as containerd does.
 */
import { create } from '@bufbuild/protobuf';
import type { NamespacedContext } from '../base/context.ts';
import { type Digest, parseDigest } from '../base/digest.ts';
import { hasCode, invalidArgument, outOfRange, taken, unknown } from '../base/errors.ts';
import { parseIngestRef } from '../base/identifiers.ts';
import type { ContentStore, ContentWriter } from '../core/content/content-store.ts';
import { countOf } from '../wire/convert.ts';
import {
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
  WriteContentResponseSchema,
} from '../wire/gen/containerd/services/content/v1/content_pb.js';
import { timestampOf } from '../wire/timestamps.ts';

/** The latest that the client said of the blob as a whole. */
interface Announced {
  totalBytes: number;
  expected: Digest | undefined;
}

export async function* writeContent(
  content: ContentStore,
  ctx: NamespacedContext,
  requests: AsyncIterable<WriteContentRequest>,
): AsyncGenerator<WriteContentResponse, void> {
  const messages = requests[Symbol.asyncIterator]();
  let step = await messages.next();
  // containerd passes Go's end of file on as an error of no class.
  if (step.done === true) throw unknown('EOF');
  if (step.value.ref === '') throw invalidArgument('first message must have a reference');
  const ref = parseIngestRef(step.value.ref);
  const announced: Announced = { totalBytes: 0, expected: undefined };
  announce(announced, step.value);
  await using writer = await content.writer(ctx, {
    ref,
    totalBytes: announced.totalBytes,
    ...(announced.expected !== undefined && { expected: announced.expected }),
  });
  let last: WriteContentResponse | undefined;
  while (step.done !== true) {
    const request: WriteContentRequest = step.value;
    announce(announced, request);
    if (request.expected !== '' && last !== undefined) await refuseExisting(content, ctx, writer, announced);
    last = await answer(ctx, writer, request, announced, last);
    yield last;
    if (request.action === WriteAction.COMMIT) break;
    step = await messages.next();
  }
  if (last !== undefined) yield last;
}

function announce(announced: Announced, request: WriteContentRequest): void {
  if (request.total > 0n) announced.totalBytes = countOf(request.total, 'total');
  if (request.expected !== '') announced.expected = parseDigest(request.expected);
}

/** A blob that is there already needs no second copy: the ingest is dropped. Errors: AlreadyExists. */
async function refuseExisting(
  content: ContentStore,
  ctx: NamespacedContext,
  writer: ContentWriter,
  { expected }: Announced,
): Promise<void> {
  if (expected === undefined) return;
  try {
    await content.info(ctx, expected);
  } catch (error) {
    if (hasCode(error, 'NotFound')) return;
    throw error;
  }
  const { ref } = writer.status();
  await writer[Symbol.asyncDispose]();
  await content.abort(ctx, ref);
  throw taken(`blob with expected digest ${expected} exists`);
}

async function answer(
  ctx: NamespacedContext,
  writer: ContentWriter,
  request: WriteContentRequest,
  announced: Announced,
  last: WriteContentResponse | undefined,
): Promise<WriteContentResponse> {
  const { action } = request;
  if (action === WriteAction.WRITE || action === WriteAction.COMMIT) {
    await placeAt(writer, request.offset);
    if (request.data.byteLength > 0) await writer.write(request.data);
  }
  const { startedAt, updatedAt, offsetBytes } = writer.status();
  // containerd fills one message again and again: what a STAT put into it stands in all answers after it.
  const message = create(WriteContentResponseSchema, last);
  message.action = action;
  message.offset = BigInt(offsetBytes);
  if (action === WriteAction.STAT) {
    message.startedAt = timestampOf(startedAt);
    message.updatedAt = timestampOf(updatedAt);
    // What this stream was told, not what an earlier one was.
    message.total = BigInt(announced.totalBytes);
  }
  if (action === WriteAction.STAT || action === WriteAction.WRITE) message.digest = writer.digest();
  if (action === WriteAction.COMMIT)
    message.digest = await writer.commit(ctx, {
      sizeBytes: announced.totalBytes,
      ...(announced.expected !== undefined && { expected: announced.expected }),
      labels: request.labels,
    });
  return message;
}

/** Errors: OutOfRange. Below 0 means "wherever it ends". */
async function placeAt(writer: ContentWriter, offset: bigint): Promise<void> {
  const { offsetBytes } = writer.status();
  if (offset > 0n && offset !== BigInt(offsetBytes))
    throw outOfRange(`write @${offset} must occur at current offset ${offsetBytes}`);
  if (offset === 0n && offsetBytes > 0) await writer.truncate(0);
}
