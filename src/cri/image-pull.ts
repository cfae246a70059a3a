/**
 * PullImage: the story of a pull for the kubelet. The image gets three names: its id, the name by digest, and the name
 * by tag when it was asked for by one. All of them come when everything is here, the one asked for last.
 */
import { type Context, type NamespacedContext, withSignal } from '../base/context.ts';
import type { Digest } from '../base/digest.ts';
import { ContainerdError, failedPrecondition, wrap } from '../base/errors.ts';
import type { ImageStore } from '../core/images/image-store.ts';
import type { ImageTransfers } from '../core/transfer/image-transfers.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { hostPlatform } from '../oci/platform.ts';
import type { Reference } from '../oci/reference.ts';
import type { PullImageRequest } from '../wire/gen/runtime/v1/image_pb.js';
import { inCri } from './cri-context.ts';
import { credentialsOf } from './image-auth.ts';
import type { ImageFactsReader } from './image-facts.ts';
import { labelsAfterNaming, nameImage } from './image-names.ts';
import { nameByDigest, parseImageText } from './image-reference.ts';
import { PullWatchdog } from './pull-watchdog.ts';
import type { ImageSettings } from './settings.ts';

/** On a pod: for which handler's snapshotter its images are, from before ImageSpec could say it. */
const handlerAnnotation = 'io.containerd.cri.runtime-handler';

export interface ImagePullDependencies {
  readonly transfers: ImageTransfers;
  readonly images: ImageStore;
  readonly facts: ImageFactsReader;
}

/**
 * Resolves with the id. Errors: InvalidArgument (name, credentials), NotFound, Unauthenticated, Unavailable,
 * FailedPrecondition (digests; no container image), Canceled (no progress).
 */
export async function pullImage(
  dependencies: ImagePullDependencies,
  settings: ImageSettings,
  context: Context,
  request: PullImageRequest,
): Promise<Digest> {
  const reference = parseImageText(request.image?.image ?? '');
  using watchdog = new PullWatchdog(reference.text, { timeoutMs: settings.pullProgressTimeoutMs });
  const ctx = withSignal(inCri(context), watchdog.signal);
  const pinned = settings.isPinned(reference.text);
  const { transfers, images } = dependencies;
  let id: Digest | undefined;
  const credentials = credentialsOf(request.auth);
  const from = {
    reference: reference.text,
    ...(settings.registryConfigPath !== '' && { hostsDir: settings.registryConfigPath }),
    ...(credentials !== undefined && { credentials }),
  };
  const into = {
    name: reference.text,
    labels: await labelsAfterNaming(images, ctx, { name: reference.text, pinned }),
    platforms: [hostPlatform()],
    allMetadata: false,
    manifestLimit: 1,
    unpacks: [{ snapshotter: settings.snapshotterOf(handlerOf(request)) }],
    maxConcurrentDownloads: settings.maxConcurrentDownloads,
    beforeNaming: async (within: NamespacedContext, target: Descriptor) => {
      id = await nameById(dependencies, within, { reference, target, pinned });
    },
  };
  try {
    await transfers.tracked('pull', () =>
      transfers.puller.pull(ctx, from, into, (step) => watchdog.note(step)),
    );
  } catch (error) {
    const reason = watchdog.signal.aborted ? ContainerdError.from(watchdog.signal.reason) : error;
    throw wrap(`failed to pull and unpack image ${JSON.stringify(reference.text)}`, reason);
  }
  return id as Digest;
}

/** The names beside the one asked for. Errors: FailedPrecondition when it is no image that can be run. */
async function nameById(
  { images, facts }: ImagePullDependencies,
  ctx: NamespacedContext,
  { reference, target, pinned }: { reference: Reference; target: Descriptor; pinned: boolean },
): Promise<Digest> {
  const found = await facts.read(ctx, target);
  if (found === undefined)
    throw failedPrecondition(
      `${reference.text} (${target.mediaType}) is no container image: it has no image config`,
    );
  for (const name of [found.id, nameByDigest(reference, target.digest)])
    if (name !== reference.text) await nameImage(images, ctx, { name, target, pinned });
  return found.id;
}

const handlerOf = ({ image, sandboxConfig }: PullImageRequest): string =>
  image?.runtimeHandler || sandboxConfig?.annotations[handlerAnnotation] || '';
