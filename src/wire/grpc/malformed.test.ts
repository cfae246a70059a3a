/** What a hostile client may send: the server answers by the right code and goes on. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { requireNamespace } from '../../base/context.ts';
import { silentLogger } from '../../base/logger.ts';
import { framed, RawGrpc } from '../../testing/raw-grpc.ts';
import { Namespaces } from '../gen/containerd/services/namespaces/v1/namespace_pb.js';
import { Version } from '../gen/containerd/services/version/v1/version_pb.js';
import { serve } from '../service.ts';
import { UnixListener } from '../unix-listener.ts';
import { connectGrpc } from './client.ts';
import { GrpcServer } from './server.ts';

const sockets = { peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }), sendDatagram: (): void => {} };

describe('gRPC with a hostile client', () => {
  let dir: string;
  let listener: UnixListener;
  let server: GrpcServer;
  let raw: RawGrpc;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-hostile-'));
    listener = await UnixListener.listen({ sockets }, join(dir, 's'));
    const services = [
      serve(Version, { version: async () => ({ version: 'v' }) }),
      serve(Namespaces, {
        get: async (_ctx, { name }) => ({ namespace: { name } }),
        list: async (ctx) => ({ namespaces: [{ name: requireNamespace(ctx).namespace }] }),
      }),
    ];
    server = new GrpcServer({ services, log: silentLogger });
    server.attach(listener);
    raw = new RawGrpc(listener.path);
  });

  after(async () => {
    raw[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
    await listener.close();
    await rm(dir, { recursive: true });
  });

  /** Sends raw bytes as the body of a call; resolves with the number of the status. */
  const call = async (
    path: string,
    body: Buffer,
    headers: Record<string, string> = {},
  ): Promise<string | undefined> => (await raw.call(path, body, headers)).code;

  const get = '/containerd.services.namespaces.v1.Namespaces/Get';

  it('answers bytes that are no message with Internal, as grpc-go does', async () => {
    assert.equal(await call(get, framed(Buffer.from([0x0a, 0x05, 0x61]))), '13');
    assert.equal(await call(get, framed(Buffer.from([0xff, 0xff]))), '13');
  });

  it('answers text that is not UTF-8 with Internal', async () => {
    assert.equal(await call(get, framed(Buffer.from([0x0a, 0x02, 0xc3, 0x28]))), '13');
  });

  it('answers unknown services and methods with Unimplemented', async () => {
    assert.equal(await call('/no.Such/Thing', framed(Buffer.alloc(0))), '12');
    assert.equal(await call(`${get}Nothing`, framed(Buffer.alloc(0))), '12');
    assert.equal(
      await call('/containerd.services.namespaces.v1.Namespaces/Create', framed(Buffer.alloc(0))),
      '12',
    );
  });

  it('refuses a message that claims to be too large before it has come', async () => {
    const header = Buffer.alloc(5);
    header.writeUInt32BE(0x7fffffff, 1);
    assert.equal(await call(get, Buffer.concat([header, Buffer.alloc(100)])), '8');
  });

  it('takes one message only where there is one', async () => {
    const one = framed(Buffer.from([0x0a, 0x01, 0x61]));
    assert.equal(await call(get, one), '0');
    assert.equal(await call(get, Buffer.concat([one, one])), '13');
    assert.equal(await call(get, Buffer.alloc(0)), '13');
    assert.equal(await call(get, one.subarray(0, one.length - 1)), '13');
    assert.equal(await call(get, one.subarray(0, 3)), '13');
  });

  it('answers what is no gRPC call by the status of HTTP', async () => {
    const statusOfHttp = async (headers: Record<string, string>): Promise<unknown> => {
      const stream = raw.session.request({ ':path': get, ...headers });
      stream.resume();
      const [answer] = (await once(stream, 'response')) as [Record<string, unknown>];
      return answer[':status'];
    };
    assert.equal(await statusOfHttp({ ':method': 'GET' }), 405);
    assert.equal(await statusOfHttp({ ':method': 'POST', 'content-type': 'application/json' }), 415);
    assert.equal(await statusOfHttp({ ':method': 'POST', 'content-type': 'application/grpcx' }), 415);
  });

  it('tells a client that goes on sending the status first, and then to stop', async () => {
    for (let round = 0; round < 50; round += 1) {
      const stream = raw.session.request({
        ':method': 'POST',
        ':path': '/no.Such/Thing',
        'content-type': 'application/grpc',
      });
      const stopped = once(stream, 'close');
      stream.write(framed(Buffer.alloc(0)));
      stream.resume();
      const [answer] = (await once(stream, 'response')) as [Record<string, unknown>];
      assert.equal(answer['grpc-status'], '12');
      await stopped;
      assert.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR);
    }
  });

  it('does not take a header for more than a name', async () => {
    const list = '/containerd.services.namespaces.v1.Namespaces/List';
    const inNamespace = (path: string, name: string): Promise<string | undefined> =>
      call(path, framed(Buffer.alloc(0)), { 'containerd-namespace': name });
    assert.equal(await inNamespace(list, 'a/../b'), '3');
    assert.equal(await inNamespace(list, ''), '9');
    assert.equal(await inNamespace(list, 'a'), '0');
    assert.equal(await inNamespace(get, 'a/../b'), '0');
  });

  it('survives bytes that are not HTTP/2, and goes on serving', async () => {
    const socket = connect({ path: listener.path });
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\n\r\n');
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
    await using connection = connectGrpc(listener.path);
    assert.equal((await connection.client(Version).version({})).version, 'v');
    assert.equal(server.inFlight().length, 0);
  });
});
