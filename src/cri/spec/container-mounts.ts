/**
 * The bind mounts of a container: the kubelet's, the pod's files (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`,
 * `/dev/shm`) and the volumes of the image, where the kubelet's win. Sources are real paths. What a mount wants to send
 * to or get from the host is only granted where the source's own mount can do it.
 */
import { posix } from 'node:path';
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import type { SpecIdMapping, SpecMount } from '../../oci/runtime-spec.ts';
import type { IDMapping } from '../../wire/gen/runtime/v1/common_pb.js';
import { type Mount, MountPropagation } from '../../wire/gen/runtime/v1/container_pb.js';
import { type IdMappings, specMapping } from './namespaces.ts';
import { type HostFacts, type HostReads, isAtLeast, type RuntimeFacts } from './spec-facts.ts';
import { byDepth, cleanPath } from './standard-mounts.ts';

/** Files of the pod on the host; absent ones are not mounted. */
export interface PodFiles {
  readonly hostname?: string;
  readonly hosts: string;
  readonly resolvConf: string;
  /** `/dev/shm` itself in the host's ipc namespace. */
  readonly shm: string;
}

export interface MountWishes {
  readonly mounts: readonly MountWords[];
  /** By the container's path: where an image volume is on the host, sub-path included. */
  readonly imageVolumes: ReadonlyMap<string, string>;
  readonly podFiles: PodFiles;
  /** Of the image, each with the directory made for it on the host. */
  readonly volumes: readonly { readonly containerPath: string; readonly hostPath: string }[];
  readonly readonlyRootfs: boolean;
  readonly mappings: IdMappings | undefined;
}

export interface MountContext {
  readonly host: Pick<HostFacts, 'kernel'>;
  readonly runtime: Pick<RuntimeFacts, 'idmapMounts' | 'recursiveReadOnlyMounts'>;
  readonly reads: Pick<HostReads, 'bindSource' | 'mountOf'>;
}

export interface ContainerMounts {
  readonly mounts: readonly SpecMount[];
  /** `rshared`, `rslave` when a mount needs the root to be so. */
  readonly rootfsPropagation?: 'rshared' | 'rslave';
  /** Real paths on the host that want the mount label (SELinux), which the caller sets. */
  readonly relabel: readonly string[];
}

export type MountWords = Omit<Mount, '$typeName' | '$unknown' | 'uidMappings' | 'gidMappings'> & {
  readonly uidMappings: readonly Pick<IDMapping, 'hostId' | 'containerId' | 'length'>[];
  readonly gidMappings: readonly Pick<IDMapping, 'hostId' | 'containerId' | 'length'>[];
};

interface Bind {
  readonly words: MountWords;
  readonly mappings: IdMappings | undefined;
}

/** Errors: InvalidArgument. */
export async function containerMounts(wishes: MountWishes, context: MountContext): Promise<ContainerMounts> {
  const own = wishes.mounts.map((words) => ({
    words: sourced(words, wishes.imageVolumes),
    mappings: ownMappings(words),
  }));
  const taken = new Set(own.map(({ words }) => cleanPath(words.containerPath)));
  const more = [...podBinds(wishes), ...volumeBinds(wishes)].filter(
    ({ words }) => !taken.has(cleanPath(words.containerPath)),
  );
  const mounts: SpecMount[] = [];
  const relabel: string[] = [];
  for (const bind of [...own, ...more]) {
    const mount = await specMount(bind, context);
    mounts.push(mount);
    if (bind.words.selinuxRelabel) relabel.push(mount.source ?? '');
  }
  const wishedPropagation = new Set(own.map(({ words }) => words.propagation));
  const root = wishedPropagation.has(MountPropagation.PROPAGATION_BIDIRECTIONAL)
    ? 'rshared'
    : wishedPropagation.has(MountPropagation.PROPAGATION_HOST_TO_CONTAINER)
      ? 'rslave'
      : undefined;
  return { mounts: byDepth(mounts), relabel, ...(root && { rootfsPropagation: root }) };
}

function sourced(words: MountWords, imageVolumes: ReadonlyMap<string, string>): MountWords {
  if (!words.containerPath.startsWith('/') || words.containerPath.includes('\0'))
    throw invalidArgument(
      `mount path ${JSON.stringify(words.containerPath)} in the container must be absolute`,
    );
  if (words.image === undefined || words.image.image === '') return words;
  const hostPath = imageVolumes.get(words.containerPath);
  if (hostPath === undefined)
    throw invalidArgument(`image ${words.image.image} for ${words.containerPath} is not mounted on the host`);
  return { ...words, hostPath, readonly: true };
}

function ownMappings({ uidMappings, gidMappings, containerPath }: MountWords): IdMappings | undefined {
  if (uidMappings.length === 0 && gidMappings.length === 0) return undefined;
  if (uidMappings.length === 0 || gidMappings.length === 0)
    throw invalidArgument(`mount ${containerPath}: an idmapped mount needs both uid and gid mappings`);
  const what = `mount ${containerPath}: id`;
  const each = (list: MountWords['uidMappings']): SpecIdMapping[] =>
    list.map((range) => specMapping(what, range));
  return { uidMappings: each(uidMappings), gidMappings: each(gidMappings) };
}

const bind = (
  containerPath: string,
  hostPath: string,
  readonly: boolean,
  selinuxRelabel = true,
): MountWords => ({
  containerPath,
  hostPath,
  readonly,
  selinuxRelabel,
  propagation: MountPropagation.PROPAGATION_PRIVATE,
  uidMappings: [],
  gidMappings: [],
  recursiveReadOnly: false,
  imageSubPath: '',
});

function podBinds({ podFiles, readonlyRootfs, mappings }: MountWishes): Bind[] {
  return [
    ...(podFiles.hostname === undefined ? [] : [bind('/etc/hostname', podFiles.hostname, readonlyRootfs)]),
    bind('/etc/hosts', podFiles.hosts, readonlyRootfs),
    bind('/etc/resolv.conf', podFiles.resolvConf, readonlyRootfs),
    bind('/dev/shm', podFiles.shm, false, podFiles.shm !== '/dev/shm'),
  ].map((words) => ({ words, mappings }));
}

/** An image may name a volume by a relative path, or by one with "..": it is below the root all the same. */
const volumeBinds = ({ volumes, mappings }: MountWishes): Bind[] =>
  volumes.map(({ containerPath, hostPath }) => ({
    words: bind(posix.join('/', containerPath), hostPath, false),
    mappings,
  }));

async function specMount({ words, mappings }: Bind, context: MountContext): Promise<SpecMount> {
  const { hostPath, containerPath } = words;
  if (!hostPath.startsWith('/') || hostPath.includes('\0'))
    throw invalidArgument(
      `mount ${containerPath}: its source ${JSON.stringify(hostPath)} must be an absolute path`,
    );
  if (mappings && !context.runtime.idmapMounts)
    throw invalidArgument(`mount ${containerPath} is to be idmapped, which the runtime cannot do`);
  const source = await context.reads.bindSource(hostPath).catch((error: unknown) => {
    const { message } = ContainerdError.from(error);
    throw invalidArgument(`mount ${containerPath}: cannot use or make ${hostPath}: ${message}`, error);
  });
  return {
    destination: containerPath,
    type: 'bind',
    source,
    options: ['rbind', await propagation(words, source, context.reads), access(words, context)],
    ...mappings,
  };
}

async function propagation(
  { propagation: wished, containerPath }: MountWords,
  source: string,
  { mountOf }: MountContext['reads'],
): Promise<string> {
  if (wished === MountPropagation.PROPAGATION_PRIVATE) return 'rprivate';
  const { mountPoint, shared, slave } = await mountOf(source);
  const where = `mount ${containerPath}: path ${JSON.stringify(source)} is mounted on ${JSON.stringify(mountPoint)}`;
  if (wished === MountPropagation.PROPAGATION_BIDIRECTIONAL) {
    if (shared) return 'rshared';
    throw invalidArgument(`${where} but it is not a shared mount, which Bidirectional needs`);
  }
  if (wished !== MountPropagation.PROPAGATION_HOST_TO_CONTAINER)
    throw invalidArgument(`mount ${containerPath}: propagation ${String(wished)} is not known`);
  if (shared || slave) return 'rslave';
  throw invalidArgument(`${where} but it is not a shared or slave mount, which HostToContainer needs`);
}

function access(words: MountWords, { host, runtime }: MountContext): string {
  const { readonly, recursiveReadOnly, containerPath } = words;
  if (!recursiveReadOnly) return readonly ? 'ro' : 'rw';
  const refuse = (why: string) => invalidArgument(`mount ${containerPath}: recursive read-only ${why}`);
  if (!readonly) throw refuse('mount conflicts with RW mount: set readonly too');
  if (words.propagation !== MountPropagation.PROPAGATION_PRIVATE) throw refuse('needs private propagation');
  if (!isAtLeast(host.kernel, 5, 12)) throw refuse('needs Linux 5.12');
  if (!runtime.recursiveReadOnlyMounts) throw refuse('is nothing that the runtime can do');
  return 'rro';
}
