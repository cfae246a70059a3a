/** Which entries of an index are wanted, and what is told when none is (docs of containerd's transfer image store). */
import { absent, invalidArgument } from '../../base/errors.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageIndex } from '../../oci/manifest.ts';
import {
  anyMatcher,
  compatibleMatcher,
  formatPlatform,
  hostPlatform,
  orderedMatcher,
  type PlatformMatcher,
} from '../../oci/platform.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { ImageDestination, UnpackTarget } from './transfer.ts';

export interface PlatformChoice {
  readonly matcher: PlatformMatcher;
  /** For messages: "linux/amd64". */
  readonly wanted: string;
  /** At most so many entries of an index, best first; 0 for all. */
  readonly limit: number;
  /** Manifests and configs of the other platforms too, without their layers. */
  readonly allMetadata: boolean;
}

/**
 * Entries to go on with; one without a platform is always wanted, as nothing speaks against it. As in containerd, only
 * a limit makes it an error that none is wanted: without one, what is left is an index without images.
 * Errors: NotFound when there is a limit and none is wanted.
 */
export function chosenEntries(
  index: ImageIndex,
  choice: PlatformChoice,
  where: string,
): readonly Descriptor[] {
  const { matcher, limit, allMetadata } = choice;
  const fits = index.manifests.filter(({ platform }) => platform === undefined || matcher.matches(platform));
  const candidates = allMetadata ? index.manifests : fits;
  if (limit === 0) return candidates;
  if (fits.length === 0) {
    const offered = index.manifests
      .map(({ platform }) => (platform === undefined ? '?' : formatPlatform(platform)))
      .join(', ');
    throw absent(`no match for platform ${choice.wanted} in manifest ${where}: it has ${offered || 'none'}`);
  }
  return candidates
    .toSorted((a, b) =>
      a.platform === undefined || b.platform === undefined ? 0 : matcher.compare(a.platform, b.platform),
    )
    .slice(0, limit);
}

/** Layers of this manifest are wanted, not only its metadata. */
export const wantsLayers = (descriptor: Descriptor, { matcher }: PlatformChoice): boolean =>
  descriptor.platform === undefined || matcher.matches(descriptor.platform);

/** No platform named: all of them. */
export function platformChoice({
  platforms,
  allMetadata,
  manifestLimit,
}: Pick<ImageDestination, 'platforms' | 'allMetadata' | 'manifestLimit'>): PlatformChoice {
  return {
    matcher: platforms.length === 0 ? anyMatcher : orderedMatcher(platforms),
    wanted: platforms.map(formatPlatform).join(' or '),
    limit: manifestLimit,
    allMetadata,
  };
}

/** For which images which snapshotter unpacks. */
export interface UnpackChoice {
  readonly matcher: PlatformMatcher;
  readonly snapshotter: Snapshotter;
}

/** Errors: InvalidArgument when there is no such snapshotter. */
export const unpackChoices = (
  targets: readonly UnpackTarget[],
  snapshotters: ReadonlyMap<string, Snapshotter>,
): UnpackChoice[] =>
  targets.map(({ platform, snapshotter: name }) => {
    const snapshotter = snapshotters.get(name);
    if (snapshotter === undefined)
      throw invalidArgument(
        `snapshotter not loaded: ${name} (loaded: ${[...snapshotters.keys()].join(', ')})`,
      );
    return { matcher: compatibleMatcher(platform ?? hostPlatform()), snapshotter };
  });
