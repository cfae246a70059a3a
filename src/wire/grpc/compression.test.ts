/** Messages packed by gzip: by grpc-js as any client may switch it on, and byte by byte as none would. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { create, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import { compressionAlgorithms, credentials, Client as GrpcClient, Metadata } from '@grpc/grpc-js';
import * as fc from 'fast-check';
import { silentLogger } from '../../base/logger.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { framed, type RawAnswer, RawGrpc } from '../../testing/raw-grpc.ts';
import { Content, WriteContentResponseSchema } from '../gen/containerd/services/content/v1/content_pb.js';
import {
  GetNamespaceRequestSchema,
  type GetNamespaceResponse,
  GetNamespaceResponseSchema,
  Namespaces,
} from '../gen/containerd/services/namespaces/v1/namespace_pb.js';
import { Version, VersionResponseSchema } from '../gen/containerd/services/version/v1/version_pb.js';
import { serve } from '../service.ts';
import { UnixListener } from '../unix-listener.ts';
import { serializer } from './codec.ts';
import { pack, unpack } from './compression.ts';
import { bytesOf, PackedMessage } from './message-frames.ts';
import { GrpcServer } from './server.ts';

const sockets = { peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }), sendDatagram: (): void => {} };
const maxMessageBytes = 1024 * 1024;
const gzip = { 'grpc-encoding': 'gzip' };
const get = '/containerd.services.namespaces.v1.Namespaces/Get';
const remove = '/containerd.services.namespaces.v1.Namespaces/Delete';
const version = '/containerd.services.version.v1.Version/Version';
const write = '/containerd.services.content.v1.Content/Write';

const named = (name: string): Uint8Array =>
  toBinary(GetNamespaceRequestSchema, create(GetNamespaceRequestSchema, { name }));
const nameIn = ({ frames }: RawAnswer): string | undefined =>
  fromBinary(GetNamespaceResponseSchema, gunzipSync(frames[0]?.bytes ?? '')).namespace?.name;

/** Long, and seldom the same byte twice: it takes zlib a while. */
const noise = (length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, index) => (index * 7919 + (index >> 8) * 31) & 0xff));

describe('gRPC with gzip', () => {
  let dir: string;
  let listener: UnixListener;
  let server: GrpcServer;
  let raw: RawGrpc;
  const written: number[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-gzip-'));
    listener = await UnixListener.listen({ sockets }, join(dir, 's'));
    const services = [
      serve(Version, { version: async () => ({ version: 'v'.repeat(1000) }) }),
      serve(Namespaces, {
        get: async (_ctx, { name }) => ({ namespace: { name } }),
        delete: async () => ({}),
      }),
      serve(Content, {
        async *write(_ctx, requests) {
          for await (const { offset, data } of requests) {
            written.push(data.byteLength);
            yield { offset, digest: `${data.byteLength}` };
          }
        },
      }),
    ];
    server = new GrpcServer({ services, log: silentLogger }, { maxMessageBytes });
    server.attach(listener);
    raw = new RawGrpc(listener.path);
  });

  after(async () => {
    raw[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
    await listener.close();
    await rm(dir, { recursive: true });
  });

  const packingClient = (): GrpcClient =>
    new GrpcClient(`unix:${listener.path}`, credentials.createInsecure(), {
      'grpc.default_compression_algorithm': compressionAlgorithms.gzip,
      'grpc.use_local_subchannel_pool': 1,
    });
  const codec = <Output extends DescMessage>(input: DescMessage, output: Output) =>
    [serializer(input), (answer: Buffer) => fromBinary(output, answer)] as const;

  it('answers a client of grpc-js that has switched it on', async () => {
    const client = packingClient();
    const { promise, resolve, reject } = Promise.withResolvers<GetNamespaceResponse | undefined>();
    client.makeUnaryRequest(
      get,
      ...codec(GetNamespaceRequestSchema, GetNamespaceResponseSchema),
      { name: 'a' },
      new Metadata(),
      (error, answer) => (error === null ? resolve(answer) : reject(error)),
    );
    assert.equal((await promise)?.namespace?.name, 'a');
    client.close();
  });

  it('keeps the order of a stream, whatever its messages take to unpack', async () => {
    const client = packingClient();
    const { write: method } = Content.method;
    const call = client.makeBidiStreamRequest(write, ...codec(method.input, method.output), new Metadata());
    const sizes = Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? 200_000 - index : index));
    for (const [index, size] of sizes.entries()) call.write({ offset: BigInt(index), data: noise(size) });
    call.end();
    const answers: [number, number][] = [];
    call.on('data', ({ offset, digest }: { offset: bigint; digest: string }) =>
      answers.push([Number(offset), Number(digest)]),
    );
    await once(call, 'end');
    assert.deepEqual(answers, [...sizes.entries()]);
    client.close();
  });

  it('packs its answers for a client that announces gzip, and no others', async () => {
    const packed = await raw.call(get, framed(gzipSync(named('a')), 1), gzip);
    assert.deepEqual(
      [packed.code, packed.headers['grpc-encoding'], packed.frames[0]?.format],
      ['0', 'gzip', 1],
    );
    assert.equal(nameIn(packed), 'a');
    // Announced is enough: each message says for itself whether it is packed.
    const plain = await raw.call(get, framed(named('b')), gzip);
    assert.deepEqual([plain.headers['grpc-encoding'], nameIn(plain)], ['gzip', 'b']);
    const accepting = await raw.call(version, framed(new Uint8Array()), { 'grpc-accept-encoding': 'gzip' });
    assert.deepEqual([accepting.headers['grpc-encoding'], accepting.frames[0]?.format], [undefined, 0]);
    assert.equal(
      fromBinary(VersionResponseSchema, accepting.frames[0]?.bytes as Buffer).version.length,
      1000,
    );
    const empty = await raw.call(remove, framed(gzipSync(named('a')), 1), gzip);
    assert.deepEqual([empty.code, empty.frames], ['0', [{ format: 0, bytes: Buffer.alloc(0) }]]);
  });

  it('answers streams message by message', async () => {
    const message = (offset: number): Buffer =>
      Buffer.from(
        toBinary(Content.method.write.input, create(Content.method.write.input, { offset: BigInt(offset) })),
      );
    const body = Buffer.concat([
      framed(gzipSync(message(1)), 1),
      framed(message(2)),
      framed(gzipSync(message(3)), 1),
    ]);
    const { code, frames } = await raw.call(write, body, gzip);
    assert.equal(code, '0');
    assert.deepEqual(
      frames.map(({ bytes }) => Number(fromBinary(WriteContentResponseSchema, gunzipSync(bytes)).offset)),
      [1, 2, 3],
    );
  });

  it('takes messages up to the limit, and refuses 100 MB of zeros that travel as 97 kB', async () => {
    const longest = 'x'.repeat(maxMessageBytes - 4);
    assert.equal(named(longest).byteLength, maxMessageBytes);
    assert.equal(nameIn(await raw.call(get, framed(gzipSync(named(longest)), 1), gzip)), longest);
    const words = `grpc: received message after decompression larger than max ${maxMessageBytes}: resource exhausted`;
    const bomb = gzipSync(Buffer.alloc(100 * 1024 * 1024));
    assert.ok(bomb.byteLength < maxMessageBytes);
    for (const method of [get, write]) {
      const { code, message } = await raw.call(method, framed(bomb, 1), gzip);
      assert.deepEqual([code, message], ['8', words]);
      // Were it unpacked to its end, the damage there would be told.
      assert.equal((await raw.call(method, framed(bomb.subarray(0, -8), 1), gzip)).code, '8');
    }
    assert.equal((await raw.call(get, framed(gzipSync(named(`${longest}x`)), 1), gzip)).code, '8');
  });

  it('answers what cannot be unpacked with Internal', async () => {
    const packed = gzipSync(named('abc'));
    const wrongSum = Buffer.from(packed);
    wrongSum.writeUInt32LE(0, packed.byteLength - 8);
    const damaged: Readonly<Record<string, Uint8Array>> = {
      nothing: new Uint8Array(),
      plain: named('abc'),
      cut: packed.subarray(0, -1),
      'cut early': packed.subarray(0, 12),
      'with another sum': wrongSum,
      'with garbage behind': Buffer.concat([packed, Buffer.from('garbage')]),
      'with zeros behind': Buffer.concat([packed, Buffer.alloc(20)]),
      'with half of another behind': Buffer.concat([packed, packed.subarray(0, 12)]),
    };
    for (const [name, bytes] of Object.entries(damaged))
      for (const method of [get, write]) {
        const { code, message } = await raw.call(method, framed(bytes, 1), gzip);
        assert.equal(code, '13', name);
        assert.match(message, /^grpc: failed to decompress the message: /, name);
      }
  });

  it('joins the members that one message may be made of', async () => {
    const whole = named('abcdef');
    const members = Buffer.concat([gzipSync(whole.subarray(0, 4)), gzipSync(whole.subarray(4))]);
    assert.equal(nameIn(await raw.call(get, framed(members, 1), gzip)), 'abcdef');
  });

  it('hands on what came before a bad message, and nothing that comes behind it', async () => {
    const message = (size: number): Buffer => {
      const { input } = Content.method.write;
      return gzipSync(toBinary(input, create(input, { data: noise(size) })));
    };
    written.length = 0;
    const body = Buffer.concat([
      framed(message(11), 1),
      framed(message(22), 1),
      framed(Buffer.from('bad'), 1),
    ]);
    const { code } = await raw.call(write, Buffer.concat([body, framed(message(33), 1)]), gzip);
    assert.deepEqual([code, written], ['13', [11, 22]]);
  });

  it('refuses packed messages that were not announced, and formats that there are not', async () => {
    const packed = gzipSync(named('a'));
    for (const headers of [{}, { 'grpc-encoding': 'identity' }, { 'grpc-encoding': '' }]) {
      const { code, message } = await raw.call(get, framed(packed, 1), headers);
      assert.equal(code, '13');
      assert.equal(message, 'grpc: compressed flag set with identity or empty encoding: internal');
      assert.equal((await raw.call(get, framed(named('a')), headers)).code, '0');
    }
    const { code, message } = await raw.call(get, framed(packed, 3), gzip);
    assert.deepEqual([code, message], ['13', 'grpc: received unexpected payload format 3: internal']);
  });

  it('refuses encodings that it does not know by their name, even without a packed message', async () => {
    for (const encoding of ['deflate', 'GZIP', 'gzip,identity', 'a"b']) {
      const { code, message } = await raw.call(get, framed(named('a')), { 'grpc-encoding': encoding });
      assert.equal(code, '12');
      const name = JSON.stringify(encoding);
      assert.equal(message, `grpc: Decompressor is not installed for grpc-encoding ${name}: not implemented`);
    }
  });
});

describe('packing', () => {
  it('gives back what it got', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const packed = await pack(bytes);
        if (packed instanceof PackedMessage)
          assert.deepEqual(
            [...(await unpack(packed, { encoding: 'gzip', maxBytes: bytes.byteLength }))],
            [...bytes],
          );
        else assert.deepEqual([...bytesOf(packed)], []);
      }),
      { numRuns: 50 },
    );
  });

  it('stops at the limit, whatever the bytes are', async () => {
    const packed = new PackedMessage(gzipSync(Buffer.alloc(101)), 1);
    await rejectsWith(unpack(packed, { encoding: 'gzip', maxBytes: 100 }), 'ResourceExhausted', /max 100$/);
  });
});
