/** Where the layers of an image come from, as the unpacker sees it. */
import type { Descriptor } from '../../oci/descriptor.ts';
import type { LayerFeed } from '../diff/layer-feed.ts';

export interface LayerSource {
  /** Starts bringing the layer in, if that has not begun; resolves when its blob is in the content store. */
  ready(layer: Descriptor): Promise<void>;
  /**
   * Starts it too; resolves when the first bytes can be read while the rest still comes, or with undefined when there
   * is nothing to follow: the blob is there, or cannot be had before it is. Never rejects: `ready` tells what failed.
   */
  feed?(layer: Descriptor): Promise<LayerFeed | undefined>;
}
