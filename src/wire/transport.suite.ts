/** What every protocol must do, with a service of its own that has all four kinds of calls. Run by both of them. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { create, createFileRegistry } from '@bufbuild/protobuf';
import type { GenService } from '@bufbuild/protobuf/codegenv2';
import {
  type BytesValueSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  file_google_protobuf_wrappers,
} from '@bufbuild/protobuf/wkt';
import { type Context, requireNamespace } from '../base/context.ts';
import { ContainerdError, type ErrorCode, hasCode, notFound } from '../base/errors.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { descriptorsOf } from '../testing/held.ts';
import { until } from '../testing/until.ts';
import type { InFlightCall } from './in-flight.ts';
import { type Client, type Connection, type ServedService, serve } from './service.ts';
import { type Accepted, type ConnectionSource, UnixListener } from './unix-listener.ts';

type Bytes = typeof BytesValueSchema;
type EchoService = GenService<{
  echo: { methodKind: 'unary'; input: Bytes; output: Bytes };
  count: { methodKind: 'server_streaming'; input: Bytes; output: Bytes };
  join: { methodKind: 'client_streaming'; input: Bytes; output: Bytes };
  chat: { methodKind: 'bidi_streaming'; input: Bytes; output: Bytes };
  missing: { methodKind: 'unary'; input: Bytes; output: Bytes };
}>;

const bytesValue = '.google.protobuf.BytesValue';
const method = (name: string, clientStreaming: boolean, serverStreaming: boolean) => ({
  name,
  inputType: bytesValue,
  outputType: bytesValue,
  clientStreaming,
  serverStreaming,
});

const file = create(FileDescriptorProtoSchema, {
  name: 'test/echo.proto',
  package: 'test',
  syntax: 'proto3',
  dependency: ['google/protobuf/wrappers.proto'],
  messageType: [
    {
      name: 'Unused',
      field: [
        {
          name: 'x',
          number: 1,
          type: FieldDescriptorProto_Type.INT32,
          label: FieldDescriptorProto_Label.OPTIONAL,
        },
      ],
    },
  ],
  service: [
    {
      name: 'Echo',
      method: [
        method('Echo', false, false),
        method('Count', false, true),
        method('Join', true, false),
        method('Chat', true, true),
        method('Missing', false, false),
      ],
    },
  ],
});

const Echo = createFileRegistry(file, (name) =>
  name === 'google/protobuf/wrappers.proto' ? file_google_protobuf_wrappers : undefined,
).getService('test.Echo') as unknown as EchoService;

const text = (value: Uint8Array): string => Buffer.from(value).toString();
const bytes = (value: string): { value: Uint8Array } => ({ value: Buffer.from(value) });

/** The last context and what became of its call. */
interface Seen {
  ctx: Context | undefined;
  produced: number;
  returned: boolean;
  consumed: number;
}

function echoService(seen: Seen): ServedService {
  return serve(Echo, {
    echo: async (ctx, request) => {
      seen.ctx = ctx;
      const word = text(request.value);
      if (word.startsWith('fail ')) throw new ContainerdError(word.slice(5) as ErrorCode, 'thing "x"');
      if (word === 'crash') throw new Error('boom');
      if (word === 'wait')
        await new Promise((_resolve, reject) =>
          ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
        );
      return { value: request.value };
    },
    async *count(ctx, request) {
      seen.ctx = ctx;
      seen.produced = 0;
      seen.returned = false;
      try {
        const word = text(request.value);
        const chunk = Buffer.alloc(word === 'big' ? 1024 * 1024 : 8, 1);
        const last = word === 'big' || word === 'forever' ? Number.POSITIVE_INFINITY : Number(word);
        for (let index = 0; index < last; index += 1) {
          seen.produced += 1;
          yield { value: chunk };
        }
        if (word === '3') throw notFound('thing', 'fourth');
      } finally {
        seen.returned = true;
      }
    },
    join: async (ctx, requests) => {
      seen.ctx = ctx;
      const parts: string[] = [];
      for await (const request of requests) {
        parts.push(text(request.value));
        if (parts.at(-1) === 'enough') break;
      }
      return bytes(parts.join(','));
    },
    async *chat(ctx, requests) {
      seen.ctx = ctx;
      seen.returned = false;
      seen.consumed = 0;
      try {
        for await (const request of requests) {
          seen.consumed += 1;
          const word = text(request.value.subarray(0, 8));
          if (word === 'bye') return;
          if (word === 'hold')
            await new Promise((_resolve, reject) =>
              ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
            );
          yield { value: Buffer.from(`re: ${word}`) };
        }
      } finally {
        seen.returned = true;
      }
    },
  });
}

export interface ProtocolUnderTest {
  /** Serves on the listener; the result stops it and knows what is under way. */
  serve(
    services: readonly ServedService[],
    source: ConnectionSource,
  ): AsyncDisposable & { inFlight(): readonly InFlightCall[]; shutdown(graceMs: number): Promise<void> };
  connect(path: string): Promise<Connection>;
  readonly maxMessageBytes: number;
}

const noCredentials = {
  peerCredentials: (): never => {
    throw new Error('not asked for');
  },
  sendDatagram: (): never => {
    throw new Error('not asked for');
  },
};

/** A listener that remembers its sockets, so that a test can cut them. */
class RecordingSource implements ConnectionSource {
  readonly sockets: Socket[] = [];
  readonly #source: ConnectionSource;
  constructor(source: ConnectionSource) {
    this.#source = source;
  }
  onConnection(receive: (accepted: Accepted) => void): void {
    this.#source.onConnection((accepted) => {
      this.sockets.push(accepted.socket);
      receive(accepted);
    });
  }
}

async function collect(source: AsyncIterable<{ value: Uint8Array }>): Promise<string[]> {
  const out: string[] = [];
  for await (const { value } of source) out.push(text(value));
  return out;
}

async function* words(...list: string[]): AsyncGenerator<{ value: Uint8Array }, void> {
  for (const word of list) yield bytes(word);
}

export function transportSuite(name: string, protocol: ProtocolUnderTest): void {
  describe(`${name} transport`, () => {
    const seen: Seen = { ctx: undefined, produced: 0, returned: false, consumed: 0 };
    let dir: string;
    let listener: UnixListener;
    let source: RecordingSource;
    let server: ReturnType<ProtocolUnderTest['serve']>;
    let connection: Connection;
    let echo: Client<EchoService>;

    before(async () => {
      dir = await mkdtemp(join(tmpdir(), 'gantry-wire-'));
      listener = await UnixListener.listen({ sockets: noCredentials }, join(dir, 's'));
      source = new RecordingSource(listener);
      server = protocol.serve([echoService(seen)], source);
      connection = await protocol.connect(listener.path);
      echo = connection.client(Echo);
    });

    after(async () => {
      await connection[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await listener.close();
      await rm(dir, { recursive: true });
    });

    it('answers unary calls, many at once, each with its own', async () => {
      const many = Array.from({ length: 200 }, (_, index) => `word ${index}`);
      const answers = await Promise.all(many.map((word) => echo.echo(bytes(word))));
      assert.deepEqual(
        answers.map((answer) => text(answer.value)),
        many,
      );
    });

    it('carries namespace and lease; a bad namespace is told to calls that need one', async () => {
      await echo.echo(bytes('x'), { namespace: 'moby', lease: 'l1' });
      assert.equal(seen.ctx?.namespace, 'moby');
      assert.equal(seen.ctx?.lease, 'l1');
      await echo.echo(bytes('x'));
      assert.equal(seen.ctx?.namespace, undefined);
      await echo.echo(bytes('x'), { namespace: '../etc' });
      const { ctx } = seen;
      assert(ctx !== undefined && ctx.namespace === undefined);
      assert.throws(
        () => requireNamespace(ctx),
        (error) => hasCode(error, 'InvalidArgument') && /must match/.test(String(error)),
      );
    });

    it('carries every error class there and back, without doubling its text', async () => {
      const classes: ErrorCode[] = [
        'Unknown',
        'InvalidArgument',
        'NotFound',
        'AlreadyExists',
        'PermissionDenied',
        'ResourceExhausted',
        'FailedPrecondition',
        'Conflict',
        'NotModified',
        'Aborted',
        'OutOfRange',
        'Unimplemented',
        'Internal',
        'Unavailable',
        'DataLoss',
        'Unauthenticated',
        'DeadlineExceeded',
        'Canceled',
      ];
      for (const code of classes) await rejectsWith(echo.echo(bytes(`fail ${code}`)), code, /^thing "x"$/);
      await rejectsWith(echo.echo(bytes('crash')), 'Unknown', /^boom$/);
    });

    it('answers Unimplemented for a method that is left out', () =>
      rejectsWith(echo.missing({}), 'Unimplemented'));

    it('streams from the server, and the error that ends a stream', async () => {
      assert.equal((await collect(echo.count(bytes('1000')))).length, 1000);
      assert.equal((await collect(echo.count(bytes('0')))).length, 0);
      const got: unknown[] = [];
      await rejectsWith(
        (async () => {
          for await (const message of echo.count(bytes('3'))) got.push(message);
        })(),
        'NotFound',
        /^thing "fourth"$/,
      );
      assert.equal(got.length, 3);
    });

    it('streams from the client, and stops when the server has enough', async () => {
      assert.equal(text((await echo.join(words('a', 'b', 'c'))).value), 'a,b,c');
      assert.equal(text((await echo.join(words())).value), '');
      let sent = 0;
      let stopped = false;
      const endless = (async function* () {
        try {
          for (;;) {
            sent += 1;
            yield bytes(sent === 3 ? 'enough' : 'more');
            await turn();
          }
        } finally {
          stopped = true;
        }
      })();
      assert.equal(text((await echo.join(endless)).value), 'more,more,enough');
      await until('the source is told to stop', () => stopped);
    });

    it('streams both ways, in step', async () => {
      const said: string[] = [];
      const { promise: first, resolve } = Promise.withResolvers<void>();
      const talk = (async function* () {
        yield bytes('one');
        await first;
        yield bytes('two');
      })();
      for await (const { value } of echo.chat(talk)) {
        said.push(text(value));
        resolve();
      }
      assert.deepEqual(said, ['re: one', 're: two']);
      assert.deepEqual(await collect(echo.chat(words('a', 'bye', 'never'))), ['re: a']);
    });

    it('hands the failure of a request source to the caller', async () => {
      const { promise: answered, resolve } = Promise.withResolvers<void>();
      const broken = (async function* () {
        yield bytes('a');
        await answered;
        throw notFound('file', 'b');
      })();
      const other = await protocol.connect(listener.path);
      const talk = (async () => {
        for await (const _ of other.client(Echo).chat(broken)) resolve();
      })();
      await rejectsWith(talk, 'NotFound', /file "b"/);
      // ttrpc cannot cancel a stream: it ends with its connection.
      await other[Symbol.asyncDispose]();
      await until('the handler is told', () => seen.returned);
    });

    it('ends a call at its deadline, on both sides', async () => {
      await rejectsWith(echo.echo(bytes('wait'), { timeoutMs: 50 }), 'DeadlineExceeded');
      await until('the handler is told', () => seen.ctx?.signal.aborted === true);
      // Over gRPC the client's own cancel may come first.
      const { code } = ContainerdError.from(seen.ctx?.signal.reason);
      assert(code === 'DeadlineExceeded' || code === 'Canceled', code);
      await until('nothing is in flight', () => server.inFlight().length === 0);
    });

    it('gives a call up by the signal of the caller', async () => {
      const controller = new AbortController();
      const other = await protocol.connect(listener.path);
      const call = other.client(Echo).echo(bytes('wait'), { signal: controller.signal, timeoutMs: 5000 });
      await until('the call is in flight', () => server.inFlight().length === 1);
      const [entry] = server.inFlight();
      assert.equal(entry?.method, 'test.Echo/Echo');
      assert(entry.ageMs >= 0 && entry.ageMs < 5000);
      controller.abort();
      await rejectsWith(call, 'Canceled');
      await rejectsWith(echo.echo(bytes('x'), { signal: controller.signal }), 'Canceled');
      await other[Symbol.asyncDispose]();
      await until('nothing is in flight', () => server.inFlight().length === 0);
    });

    it('holds a fast producer back while the consumer sleeps', async () => {
      const other = await protocol.connect(listener.path);
      const stream = other.client(Echo).count(bytes('big'))[Symbol.asyncIterator]();
      await stream.next();
      let last = -1;
      // It has stopped when turns pass without one more message.
      for (let quiet = 0; quiet < 200; quiet += 1) {
        if (seen.produced !== last) quiet = 0;
        last = seen.produced;
        await turn();
      }
      assert(seen.produced < 90, `${seen.produced} chunks of 1 MiB were produced`);
      for (let index = 0; index < 100; index += 1) await stream.next();
      assert(seen.produced > 100);
      await stream.return?.();
      await other[Symbol.asyncDispose]();
      await until('the producer is told to return', () => seen.returned);
    });

    it('holds a fast client back while the handler sleeps', async () => {
      const other = await protocol.connect(listener.path);
      let sent = 0;
      const flood = (async function* () {
        yield bytes('hold');
        for (;;) {
          sent += 1;
          yield { value: Buffer.alloc(1024 * 1024) };
        }
      })();
      const controller = new AbortController();
      const chat = collect(other.client(Echo).chat(flood, { signal: controller.signal }));
      let last = -1;
      for (let quiet = 0; quiet < 200; quiet += 1) {
        if (sent !== last) quiet = 0;
        last = sent;
        await turn();
      }
      assert(sent < 90, `${sent} MiB were sent`);
      controller.abort();
      await rejectsWith(chat, 'Canceled');
      await other[Symbol.asyncDispose]();
      await until('the handler is told', () => seen.returned);
    });

    it('leaves nothing behind when a client vanishes in a stream', async () => {
      await until(
        'one is connected',
        () => source.sockets.filter((socket) => !socket.destroyed).length === 1,
      );
      const openBefore = descriptorsOf().length;
      for (let round = 0; round < 3; round += 1) {
        const other = await protocol.connect(listener.path);
        const iterator = other.client(Echo).count(bytes('forever'))[Symbol.asyncIterator]();
        await iterator.next();
        const talk = other.client(Echo).chat(words('hold'))[Symbol.asyncIterator]();
        const held = talk.next();
        await until('both calls are in flight', () => server.inFlight().length === 2);
        source.sockets.at(-1)?.destroy();
        await rejectsWith(held, 'Unavailable');
        await assert.rejects(async () => {
          for (;;) if ((await iterator.next()).done === true) return;
        });
        await until('both calls have ended', () => server.inFlight().length === 0);
        await other[Symbol.asyncDispose]();
      }
      await until('all descriptors are closed', () => descriptorsOf().length <= openBefore);
      assert.equal(text((await echo.echo(bytes('still there'))).value), 'still there');
    });

    it('takes thousands of streams that the client leaves early', async () => {
      for (let round = 0; round < 30; round += 1)
        await Promise.all(
          Array.from({ length: 100 }, async () => {
            const iterator = echo.count(bytes('20'))[Symbol.asyncIterator]();
            await iterator.next();
            await iterator.return?.();
          }),
        );
      assert.equal(text((await echo.echo(bytes('still there'))).value), 'still there');
    });

    it('refuses a message that is too large with ResourceExhausted, and goes on', async () => {
      const large = { value: Buffer.alloc(protocol.maxMessageBytes + 1024 * 1024) };
      await rejectsWith(echo.echo(large), 'ResourceExhausted');
      const fits = { value: Buffer.alloc(protocol.maxMessageBytes - 1024, 7) };
      assert.equal((await echo.echo(fits)).value.byteLength, fits.value.byteLength);
    });

    it('fails calls when nobody listens', async () => {
      await rejectsWith(
        (async () => {
          const other = await protocol.connect(join(dir, 'nobody'));
          await using _ = other;
          await other.client(Echo).echo({});
        })(),
        'Unavailable',
      );
    });

    it('lets calls finish in a shutdown, and tells those that do not', async () => {
      const place = await UnixListener.listen({ sockets: noCredentials }, join(dir, 'second'));
      const second = protocol.serve([echoService(seen)], place);
      const other = await protocol.connect(place.path);
      const waiting = other.client(Echo).echo(bytes('wait'));
      const told = rejectsWith(waiting, 'Unavailable');
      await until('the call is in flight', () => second.inFlight().length === 1);
      await place.close();
      await second.shutdown(20);
      await told;
      await other.closed;
      await other[Symbol.asyncDispose]();
    });
  });
}
