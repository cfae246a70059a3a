/**
 * Back-pressure on gRPC streams. grpc-js counts messages, not bytes, before it says stop; content travels in chunks
 * of 1 MiB, so here two messages at most are under way on a stream.
 */
import type { Writable } from 'node:stream';
import { raceSignal } from '../../base/bounded-wait.ts';
import { type ContainerdError, canceled, deadlineExceeded, unavailable } from '../../base/errors.ts';
import { untilAborted } from '../iteration.ts';

/** grpc-js never calls back for a message of a call that has ended: whoever waits must also watch the signal. */
function written(stream: Writable, message: unknown): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stream.write(message, (error) => {
    if (error === null || error === undefined) resolve();
    else reject(unavailable('the stream is closed', error));
  });
  promise.catch(() => {});
  return promise;
}

/** Queues all of `messages`; the last may still be on its way, so that the end can travel with it. Errors: Canceled, DeadlineExceeded by the signal; the source's. */
export async function writeAll(
  stream: Writable,
  messages: AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  let before: Promise<void> = Promise.resolve();
  for await (const message of untilAborted(messages, signal)) {
    await raceSignal(before, signal);
    before = written(stream, message);
  }
}

/** What a call fails with when its deadline, or its peer, ended it. */
export const callEnded = (deadlineMs: number): ContainerdError =>
  Date.now() >= deadlineMs ? deadlineExceeded('context deadline exceeded') : canceled('context canceled');
