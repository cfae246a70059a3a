/** The services over a real socket and real metadata, for the tests beside. */
import { join } from 'node:path';
import { digestOf } from '../base/digest.ts';
import { unimplemented, unknown } from '../base/errors.ts';
import { silentLogger } from '../base/logger.ts';
import type { Differ } from '../core/diff/differ.ts';
import { Exchange } from '../core/events/exchange.ts';
import { StoreFixture } from '../core/metadata/store.fixture.ts';
import type { PluginRecord } from '../core/plugins/graph.ts';
import { connectGrpc } from '../wire/grpc/client.ts';
import { GrpcServer } from '../wire/grpc/server.ts';
import type { Client, Connection, Service } from '../wire/service.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { containersService } from './containers.ts';
import { contentService } from './content.ts';
import { diffService } from './diff.ts';
import { eventsService } from './events.ts';
import { healthService } from './health.ts';
import { imagesService } from './images.ts';
import { introspectionService } from './introspection.ts';
import { leasesService } from './leases.ts';
import { namespacesService } from './namespaces.ts';
import { sandboxesService } from './sandboxes.ts';
import { snapshotsService } from './snapshots.ts';
import { versionService } from './version.ts';

export const inside = { namespace: 'default' };
export const hello = digestOf('hello');
export const absent = digestOf('absent');
export const bytes = (text: string): Uint8Array => Buffer.from(text);
export const sockets = {
  peerCredentials: () => ({ pid: process.pid, uid: process.getuid?.() ?? 0, gid: 0 }),
  sendDatagram: (): void => {},
};

export async function all<Item>(source: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of source) items.push(item);
  return items;
}

export async function* stream<Item>(...items: Item[]): AsyncGenerator<Item, void> {
  yield* items;
}

/** Refuses everything, then one that answers, to show the order of differs. */
const refusing: Differ = {
  apply: async () => {
    throw unimplemented('media type');
  },
  compare: async () => {
    throw unimplemented('media type');
  },
};
const answering: Differ = {
  apply: async (_ctx, layer, _mounts, { payloads }) => ({
    ...layer,
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    // So that a test sees what came in.
    annotations: Object.fromEntries(
      Array.from(payloads ?? [], ([id, { typeUrl, value }]) => [
        id,
        `${typeUrl} ${Buffer.from(value).toString()}`,
      ]),
    ),
  }),
  compare: async (_ctx, _lower, _upper, options) => ({
    mediaType: options.mediaType ?? 'default',
    digest: hello,
    sizeBytes: 5,
  }),
};

export const plugins: PluginRecord[] = [
  {
    type: 'io.containerd.content.v1',
    id: 'content',
    requires: [],
    platforms: [{ os: 'linux', architecture: 'amd64' }],
    capabilities: ['a'],
    exports: { root: '/r' },
    status: 'ok',
    error: undefined,
  },
  {
    type: 'io.containerd.snapshotter.v1',
    id: 'btrfs',
    requires: ['io.containerd.metadata.v1'],
    platforms: [],
    capabilities: [],
    exports: {},
    status: 'skip',
    error: unknown('no btrfs: skip plugin'),
  },
];

export class ServiceFixture implements AsyncDisposable {
  readonly fixture: StoreFixture;
  readonly exchange: Exchange;
  readonly connection: Connection;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(
    made: { fixture: StoreFixture; exchange: Exchange; connection: Connection },
    cleanup: AsyncDisposableStack,
  ) {
    this.fixture = made.fixture;
    this.exchange = made.exchange;
    this.connection = made.connection;
    this.#cleanup = cleanup;
  }

  static async make(): Promise<ServiceFixture> {
    await using cleanup = new AsyncDisposableStack();
    const fixture = cleanup.use(await StoreFixture.make());
    const exchange = new Exchange();
    const { store } = fixture;
    const listener = await UnixListener.listen({ sockets }, join(fixture.directory, 'grpc.sock'));
    cleanup.defer(() => listener.close());
    const server = cleanup.use(
      new GrpcServer({
        log: silentLogger,
        services: [
          versionService({ version: '2.1.0', revision: 'r' }),
          healthService({ services: [] }),
          namespacesService({ namespaces: store.namespaces }),
          containersService({ containers: store.containers }),
          imagesService({ images: store.images }),
          leasesService({ leases: store.leases }),
          sandboxesService({ sandboxes: store.sandboxes }),
          contentService({ content: store.content }),
          snapshotsService({ snapshotters: new Map([['records', store.snapshotter('records')]]) }),
          diffService({ differs: [refusing, answering] }),
          eventsService({ events: exchange }),
          introspectionService({
            identity: () => ({ uuid: 'a-uuid', pid: 7, pidNamespace: 4026531836n }),
            plugins: () => plugins,
            deprecations: () => [],
          }),
        ],
      }),
    );
    server.attach(listener);
    const connection = cleanup.use(connectGrpc(listener.path));
    return new ServiceFixture({ fixture, exchange, connection }, cleanup.move());
  }

  client<S extends Service>(service: S): Client<S> {
    return this.connection.client(service);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}
