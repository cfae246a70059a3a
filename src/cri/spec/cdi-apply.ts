/** CDI devices put into a spec: what all devices of a file share once, then each device's own, in the order asked for. */
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import { mergeEnv } from '../../oci/default-spec.ts';
import type { RuntimeSpec, SpecDevice, SpecHook, SpecHooks } from '../../oci/runtime-spec.ts';
import type { CdiDeviceNode, CdiEdits } from './cdi-edits.ts';
import type { CdiRegistry } from './cdi-registry.ts';
import type { HostReads } from './spec-facts.ts';
import { byDepth } from './standard-mounts.ts';

/** Errors: InvalidArgument for devices that no file describes, and for nodes that the host does not have. */
export async function withCdiDevices(
  spec: RuntimeSpec,
  names: readonly string[],
  { registry, readDevices }: { registry: CdiRegistry; readDevices: HostReads['devices'] },
): Promise<RuntimeSpec> {
  if (names.length === 0) return spec;
  const missing = names.filter((name) => !registry.devices.has(name));
  if (missing.length > 0) {
    const why = registry.problems.length > 0 ? ` (${registry.problems.join('; ')})` : '';
    throw invalidArgument(
      `CDI device injection failed: unresolvable CDI devices ${missing.join(', ')}${why}`,
    );
  }
  const seen = new Set<string>();
  let edited = spec;
  for (const device of names.flatMap((name) => registry.devices.get(name) ?? [])) {
    if (!seen.has(device.file)) edited = await withEdits(edited, device.common, readDevices);
    seen.add(device.file);
    edited = await withEdits(edited, device.own, readDevices);
  }
  return edited;
}

async function withEdits(
  spec: RuntimeSpec,
  edits: CdiEdits,
  readDevices: HostReads['devices'],
): Promise<RuntimeSpec> {
  const nodes = await Promise.all(edits.deviceNodes.map((node) => nodeOf(node, spec, readDevices)));
  const { process, linux, mounts = [] } = spec;
  const replaced = new Set([...edits.mounts.map(({ destination }) => destination)]);
  const paths = new Set(nodes.map(({ path }) => path));
  return {
    ...spec,
    ...(process && {
      process: {
        ...process,
        env: mergeEnv(process.env ?? [], edits.env),
        user: withGids(process.user, edits.additionalGids),
      },
    }),
    mounts:
      replaced.size === 0
        ? mounts
        : byDepth([...mounts.filter(({ destination }) => !replaced.has(destination)), ...edits.mounts]),
    ...(edits.hooks.length > 0 && { hooks: withHooks(spec.hooks, edits.hooks) }),
    linux: {
      ...linux,
      devices: [...(linux?.devices ?? []).filter(({ path }) => !paths.has(path)), ...nodes],
      resources: {
        ...linux?.resources,
        devices: [
          ...(linux?.resources?.devices ?? []),
          ...nodes.flatMap((node, index) => rulesOf(node, edits.deviceNodes[index]?.permissions ?? 'rwm')),
        ],
      },
    },
  };
}

type SpecUser = NonNullable<RuntimeSpec['process']>['user'];
const withGids = (user: SpecUser, gids: readonly number[]): SpecUser =>
  gids.length === 0
    ? user
    : {
        ...user,
        additionalGids: [...new Set([...(user.additionalGids ?? []), ...gids.filter((gid) => gid !== 0)])],
      };

/** What the file leaves out is read from the device on the host. A user that is not root owns its devices. */
async function nodeOf(
  { hostPath, permissions: _, ...given }: CdiDeviceNode,
  { process }: RuntimeSpec,
  readDevices: HostReads['devices'],
): Promise<SpecDevice> {
  const known = given.type === 'p' || (given.type !== undefined && given.major !== undefined);
  const [found] = known ? [] : await hostDevices(hostPath, readDevices);
  const { uid = 0, gid = 0 } = process?.user ?? {};
  const owner = { ...(uid > 0 && { uid }), ...(gid > 0 && { gid }) };
  const type = given.type ?? found?.type;
  if (type === undefined) throw invalidArgument(`CDI device injection failed: ${hostPath} is no device`);
  return { ...found, ...owner, ...given, type };
}

const hostDevices = (path: string, readDevices: HostReads['devices']): ReturnType<HostReads['devices']> =>
  readDevices(path).catch((error: unknown) => {
    throw invalidArgument(
      `CDI device injection failed: ${path}: ${ContainerdError.from(error).message}`,
      error,
    );
  });

const rulesOf = ({ type, major, minor }: SpecDevice, access: string) =>
  type === 'b' || type === 'c'
    ? [
        {
          allow: true,
          type,
          access,
          ...(major !== undefined && { major }),
          ...(minor !== undefined && { minor }),
        },
      ]
    : [];

function withHooks(hooks: SpecHooks | undefined, more: CdiEdits['hooks']): SpecHooks {
  const all: Record<string, SpecHook[]> = {};
  for (const [name, list] of Object.entries(hooks ?? {})) all[name] = [...list];
  for (const { name, hook } of more) (all[name] ??= []).push(hook);
  return all;
}
