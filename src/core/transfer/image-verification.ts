/** Asks the verifiers whether an image may be pulled. All must accept; none is no objection. */
import { checkSignal, type NamespacedContext } from '../../base/context.ts';
import { ContainerdError, unknown } from '../../base/errors.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageVerifier, Judgement } from '../verifiers/image-verifier.ts';

/** By the id of their plugin. */
export type ImageVerifiers = ReadonlyMap<string, ImageVerifier>;

/** Errors, in containerd's words and its class, Unknown: when a verifier refuses, or cannot judge. */
export async function refuseUnverified(
  ctx: NamespacedContext,
  verifiers: ImageVerifiers,
  name: string,
  target: Descriptor,
): Promise<void> {
  const image = `pull of ${name} with digest ${target.digest}`;
  for (const [verifier, judge] of verifiers) {
    const log = ctx.log.child({ name, digest: target.digest, verifier });
    let judgement: Judgement;
    try {
      judgement = await judge.verify(ctx, name, target);
    } catch (error) {
      checkSignal(ctx.signal);
      const { message } = ContainerdError.from(error);
      log.error({ error: message }, 'no judgement received from image verifier');
      throw unknown(`blocking ${image}: image verifier ${verifier} returned error: ${message}`, error);
    }
    const { isAccepted, reason } = judgement;
    if (!isAccepted) {
      log.warn({ reason }, 'image verifier blocked pull');
      throw unknown(`image verifier ${verifier} blocked ${image} for reason: ${reason}`);
    }
    log.debug({ reason }, 'image verifier allowed pull');
  }
}
