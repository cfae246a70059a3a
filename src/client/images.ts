/** Images: names for descriptors. Pulling one is the daemon's work (pull.ts), unpacking too (unpack.ts). */
import { dataLoss } from '../base/errors.ts';
import { parseImageName } from '../base/identifiers.ts';
import type { Image } from '../core/images/image-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Platform } from '../oci/platform.ts';
import { descriptorToWire } from '../wire/convert.ts';
import { Images, type Image as WireImage } from '../wire/gen/containerd/services/images/v1/images_pb.js';
import type { ContentClient } from './content.ts';
import { descriptorOf, knownInstantOf } from './convert.ts';
import { type ImageContent, readImage } from './image-content.ts';
import { Pull, type PullOptions } from './pull.ts';
import type { Call, Scope } from './scope.ts';
import type { SnapshotsClient } from './snapshots.ts';
import { chainSnapshot, unpackImage } from './unpack.ts';

const imageOf = (wire: WireImage): Image => ({
  name: parseImageName(wire.name),
  target: descriptorOf(wire.target),
  labels: wire.labels,
  createdAt: knownInstantOf(wire.createdAt),
  updatedAt: knownInstantOf(wire.updatedAt),
});

export interface ImageUsage {
  /** Compressed blobs that are there: manifest, config and layers. */
  readonly contentBytes: number;
  /** Snapshots of its layers, each counted once; undefined when it is not unpacked. */
  readonly snapshotBytes: number | undefined;
}

export interface ImagesDependencies {
  readonly scope: Scope;
  readonly content: ContentClient;
  readonly snapshots: (snapshotter: string) => SnapshotsClient;
}

export class ImagesClient {
  readonly #scope: Scope;
  readonly #content: ContentClient;
  readonly #snapshots: (snapshotter: string) => SnapshotsClient;

  constructor({ scope, content, snapshots }: ImagesDependencies) {
    this.#scope = scope;
    this.#content = content;
    this.#snapshots = snapshots;
  }

  /** Starts when it is iterated or its image is asked for. `reference` with a host: `docker.io/library/alpine:3`. */
  pull(reference: string, options: PullOptions): Pull {
    const getImage = () =>
      this.get(reference, options.signal === undefined ? {} : { signal: options.signal });
    return new Pull({ scope: this.#scope, getImage }, { ...options, reference });
  }

  /** Errors: NotFound. */
  async get(name: string, call?: Call): Promise<Image> {
    const { image } = await this.#client().get({ name }, this.#scope.options(call));
    if (image === undefined) throw dataLoss(`the daemon answered without image ${JSON.stringify(name)}`);
    return imageOf(image);
  }

  /** Filters over name, target.digest, target.mediatype, labels and annotations; they are or-ed. */
  async list(filters: readonly string[] = [], call?: Call): Promise<Image[]> {
    const { images } = await this.#client().list({ filters: [...filters] }, this.#scope.options(call));
    return images.map(imageOf);
  }

  /** Gives a descriptor a name. Errors: AlreadyExists, InvalidArgument. */
  async create(
    image: { name: string; target: Descriptor; labels?: Readonly<Record<string, string>> },
    call?: Call,
  ): Promise<Image> {
    const wire = {
      name: image.name,
      target: descriptorToWire(image.target),
      labels: { ...image.labels },
    };
    const answer = await this.#client().create({ image: wire }, this.#scope.options(call));
    return imageOf(answer.image as WireImage);
  }

  /** `sync` waits until what nothing else holds is gone from the disk. Errors: NotFound. */
  async remove(name: string, { sync = false, ...call }: Call & { sync?: boolean } = {}): Promise<void> {
    await this.#client().delete({ name, sync }, this.#scope.options(call));
  }

  /**
   * Manifest and config for a platform (the machine's own by default).
   * Errors: NotFound when content or a manifest for the platform is missing, InvalidArgument when it is malformed.
   */
  async content(
    image: Image,
    { platform, ...call }: Call & { platform?: Platform } = {},
  ): Promise<ImageContent> {
    return await readImage(this.#content, image.target, { ...(platform ? { platform } : {}), ...call });
  }

  /** Makes sure that its layers are snapshots; returns the key of the top one. Idempotent. */
  async unpack(
    image: Image,
    { snapshotter, platform, ...call }: Call & { snapshotter: string; platform?: Platform },
  ): Promise<string> {
    const content = await this.content(image, { ...(platform ? { platform } : {}), ...call });
    const dependencies = {
      scope: this.#scope,
      content: this.#content,
      snapshots: this.#snapshots(snapshotter),
    };
    return await unpackImage(dependencies, content, call);
  }

  async usage(image: Image, { snapshotter, ...call }: Call & { snapshotter: string }): Promise<ImageUsage> {
    const content = await this.content(image, call);
    const snapshots = this.#snapshots(snapshotter);
    return {
      contentBytes: content.sizeBytes,
      snapshotBytes: await chainSnapshot(snapshots, content.config.diffIds, call),
    };
  }

  #client() {
    return this.#scope.client(Images);
  }
}
