/** Everything that can be done with images inside the daemon, made once from what it takes. */
import type { NamespacedContext } from '../../base/context.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { Registry } from '../registry/registry.ts';
import { ImageExporter } from './image-exporter.ts';
import { ImageImporter } from './image-importer.ts';
import { ImagePuller } from './image-puller.ts';
import { ImagePusher } from './image-pusher.ts';
import { tagImage } from './image-tagger.ts';
import { UnpackLocks } from './layer-unpack.ts';
import type { ImageDestination } from './transfer.ts';
import { TransferLeases } from './transfer-leases.ts';
import type { TransferStores } from './transfer-stores.ts';

export interface ImageTransfersDependencies extends TransferStores {
  /** Owned by the caller. */
  readonly registry: Registry;
}

export interface ImageTransfersOptions {
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
}

export class ImageTransfers {
  readonly puller: ImagePuller;
  readonly pusher: ImagePusher;
  readonly importer: ImageImporter;
  readonly exporter: ImageExporter;
  /** The connections that transfers use, for whoever fetches single pieces. */
  readonly registry: Registry;
  readonly #images: ImageStore;

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
}
