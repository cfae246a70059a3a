/** What a spec says of its pod, for runtimes and hooks to read: `io.kubernetes.cri.*`, and those that settings let pass. */
import type { ContainerMetadata } from '../../wire/gen/runtime/v1/container_pb.js';
import type { PodSandboxConfig } from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { toNumber } from './spec-numbers.ts';

type Annotations = Readonly<Record<string, string>>;
type PodWords = Pick<PodSandboxConfig, 'metadata' | 'logDirectory' | 'linux' | 'annotations'>;
const name = (word: string): string => `io.kubernetes.cri.${word}`;

const podAnnotations = ({ metadata }: Pick<PodWords, 'metadata'>, id: string): Annotations => ({
  [name('sandbox-id')]: id,
  [name('sandbox-namespace')]: metadata?.namespace ?? '',
  [name('sandbox-uid')]: metadata?.uid ?? '',
  [name('sandbox-name')]: metadata?.name ?? '',
});

/** The kubelet's cpu and memory of the whole pod are told too, for runtimes that make a machine of it. */
export function sandboxAnnotations(
  config: PodWords,
  { id, image }: { id: string; image: string },
): Annotations {
  const resources = config.linux?.resources;
  return {
    [name('container-type')]: 'sandbox',
    ...podAnnotations(config, id),
    [name('sandbox-log-directory')]: config.logDirectory,
    [name('podsandbox.image-name')]: image,
    ...(resources && {
      [name('sandbox-cpu-period')]: String(toNumber(resources.cpuPeriod)),
      [name('sandbox-cpu-quota')]: String(toNumber(resources.cpuQuota)),
      [name('sandbox-cpu-shares')]: String(toNumber(resources.cpuShares)),
      [name('sandbox-memory')]: String(toNumber(resources.memoryLimitInBytes)),
    }),
  };
}

export const containerAnnotations = (
  config: Pick<PodWords, 'metadata'>,
  {
    podId,
    metadata,
    image,
  }: { podId: string; metadata: Pick<ContainerMetadata, 'name'> | undefined; image: string },
): Annotations => ({
  [name('container-type')]: 'container',
  ...podAnnotations(config, podId),
  [name('container-name')]: metadata?.name ?? '',
  [name('image-name')]: image,
});

/** Those whose key a glob matches: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]` are classes, `\` quotes. */
export function passedThrough(annotations: Annotations, globs: readonly string[]): Annotations {
  const patterns = globs.map(globPattern);
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => patterns.some((pattern) => pattern?.test(key))),
  );
}

/** Undefined for a glob that is none; such a setting matches nothing. */
function globPattern(glob: string): RegExp | undefined {
  const source = glob.replace(/\\(.)|\[(\^?)((?:\\.|[^\]\\])+)\]|[\s\S]/g, (part, quoted, not, members) => {
    if (quoted !== undefined) return RegExp.escape(quoted);
    if (members !== undefined) return `[${not}${String(members).replaceAll('[', '\\[')}]`;
    return part === '*' ? '[^/]*' : part === '?' ? '[^/]' : RegExp.escape(part);
  });
  try {
    return new RegExp(`^(?:${source})$`, 'u');
  } catch {
    return undefined;
  }
}
