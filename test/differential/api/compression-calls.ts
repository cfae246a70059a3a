/** Messages packed by gzip, frame by frame: no client of ours packs any. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { limits } from '../../../src/base/limits.ts';
import { framed, type RawAnswer, RawGrpc } from '../../../src/testing/raw-grpc.ts';
import {
  GetNamespaceRequestSchema,
  GetNamespaceResponseSchema,
} from '../../../src/wire/gen/containerd/services/namespaces/v1/namespace_pb.js';
import { errorOf } from '../../../src/wire/status.ts';
import { type Api, type ApiCall, call } from './api-harness.ts';

const get = '/containerd.services.namespaces.v1.Namespaces/Get';
const remove = '/containerd.services.namespaces.v1.Namespaces/Delete';
const list = '/containerd.services.containers.v1.Containers/ListStream';
const write = '/containerd.services.content.v1.Content/Write';
const gzip = { 'grpc-encoding': 'gzip' };
const damage = 'each says it in the words of its own zlib';

const request = toBinary(GetNamespaceRequestSchema, create(GetNamespaceRequestSchema, { name: 'packed' }));
const packed = gzipSync(request);

/** The answer but for how well it is packed; throws what the status says. */
function seen({ code, message, headers, frames }: RawAnswer): unknown {
  const error = errorOf({ code: Number(code), message });
  if (error !== undefined) throw error;
  const { 'grpc-encoding': encoding, 'grpc-accept-encoding': accepted } = headers;
  return { encoding, accepted, formats: frames.map(({ format }) => format), answer: nameIn(frames[0]) };
}

function nameIn(frame: RawAnswer['frames'][number] | undefined): unknown {
  if (frame === undefined || frame.bytes.byteLength === 0) return undefined;
  const bytes = frame.format === 0 ? frame.bytes : gunzipSync(frame.bytes);
  return fromBinary(GetNamespaceResponseSchema, bytes).namespace?.name;
}

const send =
  (method: string, body: Uint8Array, headers: Record<string, string> = gzip) =>
  async (api: Api): Promise<unknown> => {
    using raw = new RawGrpc(api.daemon.address);
    return seen(await raw.call(method, body, { 'containerd-namespace': api.namespace, ...headers }));
  };

const sendPacked = (bytes: Uint8Array, headers?: Record<string, string>): ApiCall['call'] =>
  send(get, framed(bytes, 1), headers);

/** Bytes that gzip to next to nothing; one more than the limit, and many more. */
const tooLong = gzipSync(Buffer.alloc(limits.grpcMessageBytes + 1));
const bomb = gzipSync(Buffer.alloc(100 * 1024 * 1024));

export const compressionCalls: readonly ApiCall[] = [
  call('a packed message, and an answer in kind', sendPacked(packed)),
  call(
    'a packed message of two members',
    sendPacked(Buffer.concat([gzipSync(request.subarray(0, 3)), gzipSync(request.subarray(3))])),
  ),
  call('a plain message where gzip is announced', send(get, framed(request))),
  call(
    'a plain message where gzip would be taken',
    send(get, framed(request), { 'grpc-accept-encoding': 'gzip' }),
  ),
  call('an empty answer', send(remove, framed(packed, 1))),
  call('an answer of no messages', send(list, framed(new Uint8Array()))),
  call('packed, and not announced', sendPacked(packed, {})),
  call('packed, and identity announced', sendPacked(packed, { 'grpc-encoding': 'identity' })),
  call('packed on a stream, and not announced', send(write, framed(packed, 1), {})),
  call('an unknown encoding', sendPacked(packed, { 'grpc-encoding': 'deflate' })),
  call('an unknown encoding of a plain message', send(get, framed(request), { 'grpc-encoding': 'deflate' })),
  call('an unknown encoding of a stream', send(write, framed(packed, 1), { 'grpc-encoding': 'deflate' })),
  call('an encoding in capitals', sendPacked(packed, { 'grpc-encoding': 'GZIP' })),
  call('two encodings', sendPacked(packed, { 'grpc-encoding': 'gzip,identity' })),
  call('an unknown format', send(get, framed(packed, 3))),
  call('no gzip at all', sendPacked(request), { words: damage }),
  call('no bytes', sendPacked(new Uint8Array()), { words: damage }),
  call('a cut message', sendPacked(packed.subarray(0, -4)), { words: damage }),
  call('a wrong sum', sendPacked(Buffer.concat([packed.subarray(0, -8), Buffer.alloc(8)])), {
    words: damage,
  }),
  call('garbage behind the end', sendPacked(Buffer.concat([packed, Buffer.from('garbage')])), {
    words: damage,
  }),
  call('zeros behind the end', sendPacked(Buffer.concat([packed, Buffer.alloc(20)])), { words: damage }),
  call('a damaged message on a stream', send(write, framed(request, 1)), { words: damage }),
  call('a message that unpacks to one byte too many', sendPacked(tooLong)),
  call('a message that unpacks to 100 MB', sendPacked(bomb)),
  call('a message that unpacks to 100 MB on a stream', send(write, framed(bomb, 1))),
];
