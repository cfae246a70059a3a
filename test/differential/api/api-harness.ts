/**
 * Runs one list of API calls against ours and against the peer and compares what each answers: the message, or the
 * code and the words of the error. A difference that is meant carries its reason, and a reason without a difference
 * fails too, so that no list of differences grows stale. GANTRY_DIFFERENTIAL=peer compares the peer with itself.
 */
import { isDeepStrictEqual } from 'node:util';
import { ContainerdError } from '../../../src/base/errors.ts';
import { connectGrpc } from '../../../src/wire/grpc/client.ts';
import type { Client, Connection, Service } from '../../../src/wire/service.ts';
import type { Daemon } from '../../support/daemon.ts';

/** One daemon as the calls of a suite see it. */
export interface Api {
  readonly daemon: Daemon;
  /** A namespace of the suite's own. */
  readonly namespace: string;
  /** Calls through it are made in the namespace, those through `outside` in none. */
  readonly connection: Connection;
  readonly outside: Connection;
  /** What one call leaves for a later one: ids that the daemon chose. */
  readonly kept: Map<string, string>;
  client<S extends Service>(service: S): Client<S>;
}

export interface ApiCall {
  readonly name: string;
  readonly call: (api: Api) => Promise<unknown>;
  /** Why ours answers otherwise. */
  readonly differs?: string;
  /** Why the error of ours has the same code and other words. */
  readonly words?: string;
}

export const call = (
  name: string,
  run: ApiCall['call'],
  reasons: Pick<ApiCall, 'differs' | 'words'> = {},
): ApiCall => ({ name, call: run, ...reasons });

interface Failure {
  readonly code: string;
  readonly message: string;
}
type Answer = { readonly value: unknown } | { readonly error: Failure };

/** Every difference that has no reason and every reason that has no difference, in words; empty when all is well. */
export async function compareCalls(
  daemons: { readonly ours: Daemon; readonly peer: Daemon },
  namespace: string,
  calls: readonly ApiCall[],
): Promise<string[]> {
  const expected = await perform(daemons.peer, namespace, calls);
  const actual = await perform(daemons.ours, namespace, calls);
  return calls.flatMap((one, index) => {
    const [theirs, ours] = [expected[index], actual[index]] as [Answer, Answer];
    const equal = isDeepStrictEqual(theirs, ours);
    const sameCode = 'error' in theirs && 'error' in ours && theirs.error.code === ours.error.code;
    const shown = `${one.name}\n  peer: ${JSON.stringify(theirs)}\n  ours: ${JSON.stringify(ours)}`;
    if (one.differs !== undefined) return equal ? [`${shown}\n  no longer differs: ${one.differs}`] : [];
    if (one.words !== undefined) {
      if (equal) return [`${shown}\n  the words no longer differ: ${one.words}`];
      return sameCode ? [] : [shown];
    }
    return equal ? [] : [shown];
  });
}

async function perform(daemon: Daemon, namespace: string, calls: readonly ApiCall[]): Promise<Answer[]> {
  await using connection = connectGrpc(daemon.address, { namespace });
  await using outside = connectGrpc(daemon.address);
  const kept = new Map<string, string>();
  const client: Api['client'] = (service) => connection.client(service);
  const api: Api = { daemon, namespace, connection, outside, kept, client };
  const answers: Answer[] = [];
  for (const { call: run } of calls)
    answers.push(
      await run(api).then(
        (value) => ({ value: plain(value, api) }),
        (error: unknown) => ({ error: failureOf(error, api) }),
      ),
    );
  return answers;
}

function failureOf(thrown: unknown, api: Api): Failure {
  if (!(thrown instanceof ContainerdError)) throw thrown;
  return { code: thrown.code, message: stableText(thrown.message, api) };
}

const stableText = (text: string, { daemon, kept }: Api): string => {
  let result = text;
  for (const path of [daemon.root, daemon.state, daemon.address]) result = result.replaceAll(path, 'PRIVATE');
  for (const [name, value] of kept) result = result.replaceAll(value, `<${name}>`);
  return result
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4} UTC|Z)?( m=[+\d.]+)?/g, 'TIME')
    .replace(/locked for [\d.]+(ns|µs|ms|s)/, 'locked for AGE')
    .replace(/\/(snapshots|new)-?\/?\d+/g, '/$1/N');
};

const isTimestamp = (value: object): value is { seconds: bigint } =>
  '$typeName' in value && value.$typeName === 'google.protobuf.Timestamp';

/** Messages as plain values: bytes as text, times as whether there is one. */
function plain(value: unknown, api: Api): unknown {
  if (typeof value === 'bigint') return `${value}`;
  if (typeof value === 'string') return stableText(value, api);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (Array.isArray(value)) return value.map((item) => plain(item, api));
  if (typeof value !== 'object' || value === null) return value;
  if (isTimestamp(value)) return value.seconds > 0n ? 'TIME' : 'NO TIME';
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== '$typeName' && key !== '$unknown')
      .map(([key, item]): [string, unknown] => [key, plain(item, api)])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/** All messages of a stream. */
export const all = <Item>(source: AsyncIterable<Item>): Promise<Item[]> => Array.fromAsync(source);

export async function* messages<Item>(...items: readonly Item[]): AsyncGenerator<Item, void> {
  yield* items;
}

export const bytes = (text: string): Uint8Array => Buffer.from(text);

export const longLabel = { key: 'v'.repeat(4100) };

/** Reasons for differences that several suites have. */
export const classLost = 'the peer loses the class of the error, so that clients cannot tell what it is';
export const leaseNamed = 'ours names the lease';
export const classTwice = 'the peer says the class of the error twice';
