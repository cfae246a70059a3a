/** The transfer and streaming services over a real socket, as clients of containerd use them together. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { AnyValue } from '../base/any-value.ts';
import { AsyncQueue } from '../base/async-queue.ts';
import { parseImageName } from '../base/identifiers.ts';
import { silentLogger } from '../base/logger.ts';
import { StreamManager, type ValueStream } from '../core/streaming/stream-manager.ts';
import { TransferFixture } from '../core/transfer/transfer.fixture.ts';
import { hostPlatform } from '../oci/platform.ts';
import { buildImage, buildIndex, publish } from '../testing/registry/image-builder.ts';
import type { TestRegistryOptions } from '../testing/registry/test-registry.ts';
import { anyToWire, packAny, typeNameOf, unpackAny } from '../wire/any.ts';
import { StreamInitSchema, Streaming } from '../wire/gen/containerd/services/streaming/v1/streaming_pb.js';
import { Transfer } from '../wire/gen/containerd/services/transfer/v1/transfer_pb.js';
import { ContainerPathSchema } from '../wire/gen/containerd/types/transfer/container_pb.js';
import { ImageStoreSchema } from '../wire/gen/containerd/types/transfer/imagestore_pb.js';
import { ProgressSchema } from '../wire/gen/containerd/types/transfer/progress_pb.js';
import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  OCIRegistrySchema,
} from '../wire/gen/containerd/types/transfer/registry_pb.js';
import { connectGrpc } from '../wire/grpc/client.ts';
import { GrpcServer } from '../wire/grpc/server.ts';
import type { CallOptions, Client, Connection } from '../wire/service.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { streamingService } from './streaming.ts';
import { transferService } from './transfer.ts';

const inside = { namespace: 'default' };
const sockets = {
  peerCredentials: () => ({ pid: process.pid, uid: process.getuid?.() ?? 0, gid: 0 }),
  sendDatagram: (): void => {},
};

interface ClientStream {
  readonly received: AsyncIterator<AnyValue>;
  readonly send: (value: AnyValue) => void;
}

class ServiceFixture implements AsyncDisposable {
  readonly core: TransferFixture;
  readonly streams = new StreamManager();
  readonly connection: Connection;
  readonly transfer: Client<typeof Transfer>['transfer'];
  readonly #cleanup: AsyncDisposableStack;

  private constructor(core: TransferFixture, listener: UnixListener, cleanup: AsyncDisposableStack) {
    this.core = core;
    this.#cleanup = cleanup;
    const server = new GrpcServer({
      log: silentLogger,
      services: [
        transferService({ transfers: core.transfers, streams: this.streams }),
        streamingService({ streams: this.streams }),
      ],
    });
    cleanup.use(server);
    server.attach(listener);
    this.connection = cleanup.use(connectGrpc(listener.path));
    this.transfer = this.connection.client(Transfer).transfer;
  }

  static async make(options: TestRegistryOptions = {}): Promise<ServiceFixture> {
    await using cleanup = new AsyncDisposableStack();
    const core = cleanup.use(await TransferFixture.make(options));
    const directory = mkdtempSync(join(tmpdir(), 'gantry-transfer-'));
    cleanup.defer(() => rmSync(directory, { recursive: true }));
    const listener = await UnixListener.listen({ sockets }, join(directory, 's.sock'));
    cleanup.defer(() => listener.close());
    const image = buildImage([{ a: 'a' }], { platform: hostPlatform() });
    publish(core.remote.storage, 'sample', 'latest', image);
    return new ServiceFixture(core, listener, cleanup.move());
  }

  /** Opened when it resolves; ends with the connection. */
  async open(id: string, options: CallOptions = {}): Promise<ClientStream> {
    const requests = new AsyncQueue<ReturnType<typeof anyToWire>>();
    this.#cleanup.defer(() => requests.end());
    requests.push(anyToWire(packAny(StreamInitSchema, { id })));
    const replies = this.connection.client(Streaming).stream(requests, { ...inside, ...options });
    const received = replies[Symbol.asyncIterator]();
    const first = await received.next();
    assert.equal(first.done === true ? '' : first.value.typeUrl, 'google.protobuf.Empty');
    return { received, send: (value) => requests.push(anyToWire(value)) };
  }

  source(resolver: Record<string, unknown> = {}): ReturnType<typeof anyToWire> {
    return anyToWire(packAny(OCIRegistrySchema, { reference: this.core.reference(), resolver }));
  }

  async imageNames(): Promise<string[]> {
    return (await this.core.store.images.list(this.core.ctx, [])).map(({ name }) => name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

const store = (name: string): ReturnType<typeof anyToWire> =>
  anyToWire(packAny(ImageStoreSchema, { name, unpacks: [{ snapshotter: 'native' }] }));

void describe('the transfer service', () => {
  void it('pulls, tells its progress, and ends that stream', async () => {
    await using fixture = await ServiceFixture.make();
    const progress = await fixture.open('p');
    const options = { progressStream: 'p' };
    const done = fixture.transfer({ source: fixture.source(), destination: store('x'), options }, inside);
    const events: string[] = [];
    for (let step = await progress.received.next(); step.done !== true; step = await progress.received.next())
      events.push(unpackAny(ProgressSchema, step.value).event);
    await done;
    assert.match(events[0] ?? '', /^Resolving from OCI Registry/);
    assert.match(events.at(-1) ?? '', /^Completed pull from OCI Registry/);
    assert.ok(events.includes('extracted'));
    assert.deepEqual(await fixture.imageNames(), ['x']);
    assert.equal(fixture.streams.size, 0);
  });

  void it('does not wait for a client that does not read', async () => {
    await using fixture = await ServiceFixture.make();
    const { promise: never } = Promise.withResolvers<void>();
    const sent: string[] = [];
    const stuck: ValueStream = {
      send: (value) => {
        sent.push(value.typeUrl);
        return never;
      },
      receive: async () => undefined,
      close: () => never,
    };
    using _ = fixture.streams.register(fixture.core.ctx.namespace, 'p', stuck);
    const options = { progressStream: 'p' };
    await fixture.transfer({ source: fixture.source(), destination: store('x'), options }, inside);
    assert.deepEqual(await fixture.imageNames(), ['x']);
    assert.deepEqual(sent, [ProgressSchema.typeName]);
  });

  void it('asks for credentials over the stream named for it', async () => {
    const auth = { kind: 'bearer', username: 'me', password: 'secret' } as const;
    await using fixture = await ServiceFixture.make({ auth });
    const { host } = fixture.core.remote;
    const stream = await fixture.open('auth');
    const done = fixture.transfer(
      { source: fixture.source({ authStream: 'auth' }), destination: store('x') },
      inside,
    );
    const asked = await stream.received.next();
    assert.ok(asked.done !== true && typeNameOf(asked.value) === AuthRequestSchema.typeName);
    const request = unpackAny(AuthRequestSchema, asked.value);
    assert.deepEqual([request.host, request.reference], [host, fixture.core.reference()]);
    assert.match(request.wwwauthenticate[0] ?? '', /^Bearer realm=/);
    const answer = { authType: AuthType.CREDENTIALS, username: 'me', secret: 'secret' };
    stream.send(packAny(AuthResponseSchema, answer));
    await done;
    assert.deepEqual(await fixture.imageNames(), ['x']);
  });

  void it('can be given up while it waits for credentials', async () => {
    const auth = { kind: 'basic', username: 'me', password: 'secret' } as const;
    await using fixture = await ServiceFixture.make({ auth });
    const stream = await fixture.open('auth');
    const aborter = new AbortController();
    const options = { ...inside, signal: aborter.signal };
    const done = fixture.transfer(
      { source: fixture.source({ authStream: 'auth' }), destination: store('x') },
      options,
    );
    await stream.received.next();
    aborter.abort();
    await assert.rejects(done, { code: 'Canceled' });
    assert.deepEqual(await fixture.imageNames(), []);
  });

  void it('sends the headers of the call to the registry', async () => {
    await using fixture = await ServiceFixture.make();
    const source = fixture.source({ headers: { 'X-Meta': 'value' } });
    await fixture.transfer({ source, destination: store('x') }, inside);
    for (const { headers } of fixture.core.remote.requests) assert.equal(headers['x-meta'], 'value');
  });

  void it('speaks TLS when told to', async () => {
    await using fixture = await ServiceFixture.make();
    const source = fixture.source({ defaultScheme: 'https' });
    await assert.rejects(fixture.transfer({ source, destination: store('x') }, inside), {
      code: 'Unavailable',
      message: /plain http/,
    });
  });

  void it('takes all platforms when none is named, one when one is', async () => {
    await using fixture = await ServiceFixture.make();
    const { storage } = fixture.core.remote;
    const images = ['s390x', hostPlatform().architecture].map((architecture) =>
      buildImage([{ a: architecture }], { platform: { os: 'linux', architecture } }),
    );
    publish(storage, 'sample', 'latest', images);
    const { os, architecture } = hostPlatform();
    const one = anyToWire(packAny(ImageStoreSchema, { name: 'x', platforms: [{ os, architecture }] }));
    await fixture.transfer({ source: fixture.source(), destination: one }, inside);
    assert.equal((await fixture.core.digests()).length, 1 + 3);
    await fixture.transfer({ source: fixture.source(), destination: store('x') }, inside);
    assert.equal((await fixture.core.digests()).length, 1 + 3 + 3);
    assert.equal((await fixture.core.snapshots()).length, 1);
    assert.equal(buildIndex(images).descriptor.digest, (await fixture.core.pull()).target.digest);
  });

  void it('pushes and tags', async () => {
    await using fixture = await ServiceFixture.make();
    await fixture.transfer({ source: fixture.source(), destination: store('x') }, inside);
    await fixture.transfer({ source: store('x'), destination: store('y') }, inside);
    const reference = fixture.core.reference('copy:v1');
    const registry = anyToWire(packAny(OCIRegistrySchema, { reference }));
    await fixture.transfer({ source: store('y'), destination: registry }, inside);
    assert.deepEqual(fixture.core.remote.storage.tags('copy'), ['v1']);
    const { images } = fixture.core.store;
    const targets = await Promise.all(
      ['x', 'y'].map(async (name) => (await images.get(fixture.core.ctx, parseImageName(name))).target),
    );
    assert.deepEqual(targets[0], targets[1]);
  });

  void it('says what it cannot do', async () => {
    await using fixture = await ServiceFixture.make();
    const { transfer } = fixture;
    const path = anyToWire(packAny(ContainerPathSchema, { containerId: 'c' }));
    await assert.rejects(transfer({ source: path, destination: store('x') }, inside), {
      code: 'Unimplemented',
      message: /containerd\.types\.transfer\.ContainerPath to containerd\.types\.transfer\.ImageStore/,
    });
    await assert.rejects(transfer({ destination: store('x') }, inside), { code: 'InvalidArgument' });
    await assert.rejects(transfer({ source: fixture.source(), destination: store('x') }), {
      code: 'FailedPrecondition',
      message: /namespace is required/,
    });
    const options = { progressStream: 'absent' };
    await assert.rejects(transfer({ source: fixture.source(), destination: store('x'), options }, inside), {
      code: 'NotFound',
    });
    const absent = anyToWire(packAny(ImageStoreSchema, { name: 'x', unpacks: [{ snapshotter: 'absent' }] }));
    await assert.rejects(transfer({ source: fixture.source(), destination: absent }, inside), {
      code: 'InvalidArgument',
      message: /snapshotter not loaded: absent/,
    });
    const malformed = { typeUrl: OCIRegistrySchema.typeName, value: Uint8Array.of(0xff) };
    await assert.rejects(transfer({ source: anyToWire(malformed), destination: store('x') }, inside), {
      code: 'InvalidArgument',
    });
  });

  void it('keeps streams of namespaces apart and their names unique', async () => {
    await using fixture = await ServiceFixture.make();
    await fixture.open('p');
    await fixture.open('p', { namespace: 'elsewhere' });
    await assert.rejects(fixture.open('p'), { code: 'AlreadyExists' });
    assert.equal(fixture.streams.size, 2);
  });
});
