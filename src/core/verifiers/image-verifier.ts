/** The contract of image verifiers: whether an image may be pulled, judged by its name and what the name stands for. */
import type { Context } from '../../base/context.ts';
import type { Descriptor } from '../../oci/descriptor.ts';

export interface Judgement {
  readonly isAccepted: boolean;
  /** For people. */
  readonly reason: string;
}

export interface ImageVerifier {
  /**
   * Judges before anything of the image is fetched but what the registry answered about its name. A failure is no
   * judgement, and no pull: errors as they come.
   */
  verify(ctx: Context, name: string, target: Descriptor): Promise<Judgement>;
}
