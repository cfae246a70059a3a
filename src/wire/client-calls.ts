/**
 * Calls that this process makes, announced before they are sent on a channel of node:diagnostics_channel: clients are
 * made in many places, and none of them should know who traces. Without a subscriber a call costs one comparison.
 */
import { channel } from 'node:diagnostics_channel';
import type { DescMethod, Message } from '@bufbuild/protobuf';
import type { CallOptions } from './service.ts';

/** What subscribers get, and may change before the call is sent. */
export interface ClientCall {
  readonly method: DescMethod;
  /** Sent with the call: a subscriber may add some. */
  readonly headers: Record<string, string>;
  /** A subscriber may replace it: told once, with what the call failed with or undefined. */
  ended: (failure: unknown) => void;
}

export const clientCalls = channel('gantry:client-call');

const nobody = (): void => {};

function announce(method: DescMethod, options: CallOptions): { call: ClientCall; options: CallOptions } {
  const call: ClientCall = { method, headers: { ...options.headers }, ended: nobody };
  clientCalls.publish(call);
  return { call, options: { ...options, headers: call.headers } };
}

export async function announced(
  method: DescMethod,
  options: CallOptions,
  send: (options: CallOptions) => Promise<Message>,
): Promise<Message> {
  if (!clientCalls.hasSubscribers) return send(options);
  const { call, options: known } = announce(method, options);
  try {
    const answer = await send(known);
    call.ended(undefined);
    return answer;
  } catch (error) {
    call.ended(error);
    throw error;
  }
}

export function announcedStream(
  method: DescMethod,
  options: CallOptions,
  send: (options: CallOptions) => AsyncIterable<Message>,
): AsyncIterable<Message> {
  return clientCalls.hasSubscribers ? relay(method, options, send) : send(options);
}

async function* relay(
  method: DescMethod,
  options: CallOptions,
  send: (options: CallOptions) => AsyncIterable<Message>,
): AsyncGenerator<Message, void> {
  const { call, options: known } = announce(method, options);
  let failure: unknown;
  try {
    yield* send(known);
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    call.ended(failure);
  }
}
