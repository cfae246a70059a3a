/** Everything that can be done with images inside the daemon, made once from what it takes. */
import type { NamespacedContext } from '../../base/context.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { Registry } from '../registry/registry.ts';
import { ImageExporter } from './image-exporter.ts';
import { ImageImporter } from './image-importer.ts';
import { ImagePuller } from './image-puller.ts';
import { ImagePusher } from './image-pusher.ts';
import { tagImage } from './image-tagger.ts';
import type { ImageVerifiers } from './image-verification.ts';
import { UnpackLocks } from './layer-unpack.ts';
import type { ImageDestination } from './transfer.ts';
import { TransferLeases } from './transfer-leases.ts';
import type { TransferStores } from './transfer-stores.ts';

export interface ImageTransfersDependencies extends TransferStores {
  /** Owned by the caller. */
  readonly registry: Registry;
  readonly verifiers?: ImageVerifiers;
}

export interface ImageTransfersOptions {
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
}

export type TransferKind = 'pull' | 'push' | 'tag' | 'import' | 'export';

/** One transfer that a client asked for, when it has ended. */
export interface EndedTransfer {
  readonly kind: TransferKind;
  readonly seconds: number;
  readonly failed: boolean;
}

export class ImageTransfers {
  readonly puller: ImagePuller;
  readonly pusher: ImagePusher;
  readonly importer: ImageImporter;
  readonly exporter: ImageExporter;
  /** The connections that transfers use, for whoever fetches single pieces. */
  readonly registry: Registry;
  readonly #images: ImageStore;
  readonly #listeners = new Set<(transfer: EndedTransfer) => void>();

  constructor(dependencies: ImageTransfersDependencies, options: ImageTransfersOptions) {
    const { leases } = dependencies;
    const shared = {
      ...dependencies,
      transferLeases: new TransferLeases({ leases }),
      snapshotLocks: new UnpackLocks(),
    };
    this.puller = new ImagePuller(shared, options);
    this.pusher = new ImagePusher(dependencies, options);
    this.importer = new ImageImporter(shared);
    this.exporter = new ImageExporter(dependencies);
    this.registry = dependencies.registry;
    this.#images = dependencies.images;
  }

  /** Errors: NotFound, InvalidArgument. */
  async tag(ctx: NamespacedContext, from: string, to: ImageDestination): Promise<void> {
    await tagImage(this.#images, ctx, from, to);
  }

  /** Applies to what begins from now on. */
  limit({ maxConcurrentDownloads, maxConcurrentUploads }: ImageTransfersOptions): void {
    this.puller.limitDownloads(maxConcurrentDownloads);
    this.pusher.limitUploads(maxConcurrentUploads);
  }

  /** Does what a client asked for, and tells who listens how it went. */
  async tracked(kind: TransferKind, transfer: () => Promise<unknown>): Promise<void> {
    const startedMs = performance.now();
    const tell = (failed: boolean): void => {
      const seconds = (performance.now() - startedMs) / 1000;
      for (const listener of this.#listeners) listener({ kind, seconds, failed });
    };
    try {
      await transfer();
    } catch (error) {
      tell(true);
      throw error;
    }
    tell(false);
  }

  onEnded(listener: (transfer: EndedTransfer) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }
}
