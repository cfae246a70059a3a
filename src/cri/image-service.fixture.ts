/** The image service over a real socket, real metadata and a registry in this process, for the tests beside. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { background, type NamespacedContext } from '../base/context.ts';
import { parseImageName } from '../base/identifiers.ts';
import { KeyedLock } from '../base/keyed-lock.ts';
import type { Labels } from '../base/labels.ts';
import { silentLogger } from '../base/logger.ts';
import { Exchange } from '../core/events/exchange.ts';
import { defaultGcThresholds, GcScheduler } from '../core/gc/scheduler.ts';
import type { Image } from '../core/images/image-store.ts';
import { TransferFixture } from '../core/transfer/transfer.fixture.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { TestRegistryOptions } from '../testing/registry/test-registry.ts';
import { ImageService } from '../wire/gen/runtime/v1/image_pb.js';
import { connectGrpc } from '../wire/grpc/client.ts';
import { GrpcServer } from '../wire/grpc/server.ts';
import type { Client } from '../wire/service.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { ImageAdoption } from './image-adoption.ts';
import { ImageFactsReader } from './image-facts.ts';
import { ImageFsInfo } from './image-fs-info.ts';
import { ImageIndex } from './image-index.ts';
import { imageService } from './image-service.ts';
import type { ImageSettings } from './settings.ts';

const sockets = {
  peerCredentials: () => ({ pid: process.pid, uid: process.getuid?.() ?? 0, gid: 0 }),
  sendDatagram: (): void => {},
};

export interface ImageServiceFixtureOptions extends TestRegistryOptions {
  /** Part of the name of the image that pods are made with. */
  readonly pinned?: string;
  readonly pullProgressTimeoutMs?: number;
  readonly walkEveryMs?: number;
  readonly maxConcurrentDownloads?: number;
}

export class ImageServiceFixture implements AsyncDisposable {
  readonly transfer: TransferFixture;
  readonly client: Client<typeof ImageService>;
  readonly ctx: NamespacedContext;
  readonly facts: ImageFactsReader;
  readonly #isPinned: (name: string) => boolean;
  readonly #locks: KeyedLock;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(
    made: Pick<ImageServiceFixture, 'transfer' | 'client' | 'facts'> & {
      locks: KeyedLock;
      isPinned: (name: string) => boolean;
    },
    cleanup: AsyncDisposableStack,
  ) {
    this.transfer = made.transfer;
    this.client = made.client;
    this.facts = made.facts;
    this.#isPinned = made.isPinned;
    this.#locks = made.locks;
    this.ctx = made.transfer.within('k8s.io');
    this.#cleanup = cleanup;
  }

  static async make(options: ImageServiceFixtureOptions = {}): Promise<ImageServiceFixture> {
    await using cleanup = new AsyncDisposableStack();
    const transfer = cleanup.use(await TransferFixture.make(options));
    const { store, transfers } = transfer;
    const { content, images } = store;
    const collector = new GcScheduler({ runner: transfer.collector, log: silentLogger }, defaultGcThresholds);
    store.useCollector(cleanup.use(collector));
    const facts = new ImageFactsReader({ content });
    const locks = new KeyedLock();
    const { pinned = 'pause', pullProgressTimeoutMs = 60_000, walkEveryMs = 60_000 } = options;
    const isPinned = (name: string): boolean => name.includes(pinned);
    const settings: ImageSettings = {
      registryConfigPath: '',
      maxConcurrentDownloads: options.maxConcurrentDownloads ?? 3,
      pullProgressTimeoutMs,
      snapshotterOf: () => 'native',
      isPinned,
    };
    const fsInfo = new ImageFsInfo({
      snapshotters: [{ snapshotter: store.snapshotter('native'), root: '/where/native/is' }],
      walkEveryMs,
    });
    const index = new ImageIndex({ images, facts });
    const services = [imageService({ index, facts, locks, content, fsInfo, images, transfers }, settings)];
    const directory = mkdtempSync(join(tmpdir(), 'gantry-cri-'));
    cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
    const listener = await UnixListener.listen({ sockets }, join(directory, 'grpc.sock'));
    cleanup.defer(() => listener.close());
    cleanup.use(new GrpcServer({ log: silentLogger, services })).attach(listener);
    const client = cleanup.use(connectGrpc(listener.path)).client(ImageService);
    return new ImageServiceFixture({ transfer, client, facts, locks, isPinned }, cleanup.move());
  }

  /** Follows what other clients bring in, until it is disposed. */
  adopt(): ImageAdoption {
    const { images, events } = this.transfer.store;
    assert.ok(events instanceof Exchange);
    return new ImageAdoption(
      background(silentLogger),
      { images, facts: this.facts, events, locks: this.#locks },
      { isPinned: this.#isPinned },
    );
  }

  reference(name: string): string {
    return this.transfer.reference(name);
  }

  async pull(name: string): Promise<string> {
    return (await this.client.pullImage({ image: { image: this.reference(name) } })).imageRef;
  }

  /** Of the image store, by name. */
  async stored(): Promise<Map<string, Image>> {
    const images = await this.transfer.store.images.list(this.ctx, []);
    return new Map(images.map((image): [string, Image] => [image.name, image]));
  }

  /** As another client would. */
  async name(name: string, target: Descriptor, labels: Labels = {}): Promise<void> {
    await this.transfer.store.images.create(this.ctx, { name: parseImageName(name), target, labels });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}
