/**
 * Status: whether the runtime and the network are ready, and what its handlers can do. The kubelet asks every few
 * seconds and takes the node out of service when a condition fails.
 *
 * Differs from containerd: `info` has no `golang`.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Context } from '../base/context.ts';
import { ContainerdError } from '../base/errors.ts';
import type {
  RuntimeConditionSchema,
  RuntimeHandlerSchema,
  StatusResponseSchema,
} from '../wire/gen/runtime/v1/status_pb.js';
import { type CniNetwork, loadCniNetworks } from './cni-config.ts';
import type { RuntimeFeatures } from './runtime-features.ts';
import type { CniSettings, RuntimeHandler, RuntimeSettings } from './settings.ts';

export interface RuntimeStatusDependencies {
  readonly features: RuntimeFeatures;
  /** What is used that will go. */
  readonly deprecations: () => readonly { readonly id: string; readonly message: string }[];
  /** Of the daemon, for people who ask for more: `crictl info`. */
  readonly places: Readonly<Record<string, string>>;
}

type Condition = MessageInitShape<typeof RuntimeConditionSchema>;
type LoadedCni = { readonly networks: readonly CniNetwork[] } | { readonly failure: string };

export async function runtimeStatus(
  { features, deprecations, places }: RuntimeStatusDependencies,
  settings: RuntimeSettings,
  ctx: Context,
  { verbose }: { readonly verbose: boolean },
): Promise<MessageInitShape<typeof StatusResponseSchema>> {
  const { cni, ignoredDeprecations } = settings;
  const loaded = await loadCni(cni.confDir, cni.maxConfNum);
  const warnings = deprecations().filter(({ id }) => !ignoredDeprecations.includes(id));
  return {
    status: { conditions: conditionsOf(loaded, warnings) },
    runtimeHandlers: await handlersOf(features, settings, ctx),
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
    ...(verbose && { info: await infoOf(settings, loaded, places) }),
  };
}

function conditionsOf(
  cni: LoadedCni,
  warnings: readonly { readonly id: string; readonly message: string }[],
): Condition[] {
  const good = { status: true, reason: '', message: '' };
  return [
    { type: 'RuntimeReady', ...good },
    {
      type: 'NetworkReady',
      ...('networks' in cni
        ? good
        : {
            status: false,
            reason: 'NetworkPluginNotReady',
            message: 'Network plugin returns error: cni plugin not initialized',
          }),
    },
    {
      type: 'ContainerdHasNoDeprecationWarnings',
      ...(warnings.length === 0
        ? good
        : {
            status: false,
            reason: 'ContainerdHasDeprecationWarnings',
            message: JSON.stringify(Object.fromEntries(warnings.map(({ id, message }) => [id, message]))),
          }),
    },
  ];
}

/** "" is the default handler once more, by the name that pods without a RuntimeClass have. */
async function handlersOf(
  features: RuntimeFeatures,
  { defaultHandler, handlers }: RuntimeSettings,
  ctx: Context,
): Promise<MessageInitShape<typeof RuntimeHandlerSchema>[]> {
  const told = await Promise.all(
    Array.from(handlers.values(), async (handler) => ({
      name: handler.name,
      features: await features.of(ctx, handler),
    })),
  );
  return told
    .flatMap((handler) => (handler.name === defaultHandler ? [{ ...handler, name: '' }, handler] : [handler]))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function loadCni(confDir: string, maxConfNum: number): Promise<LoadedCni> {
  try {
    return { networks: await loadCniNetworks(confDir, maxConfNum) };
  } catch (error) {
    return { failure: ContainerdError.from(error).message };
  }
}

/** JSON by topic, with containerd's names. */
async function infoOf(
  settings: RuntimeSettings,
  loaded: LoadedCni,
  places: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const info: Record<string, string> = {
    config: JSON.stringify({ ...configOf(settings), ...places }),
    cniconfig: JSON.stringify(cniConfigOf(settings.cni, loaded)),
    lastCNILoadStatus: loadStatusOf(loaded),
    'lastCNILoadStatus.default': loadStatusOf(loaded),
  };
  for (const { name, cniConfDir, cniMaxConfNum } of settings.handlers.values())
    if (cniConfDir !== '')
      info[`lastCNILoadStatus.${name}`] = loadStatusOf(await loadCni(cniConfDir, cniMaxConfNum));
  return info;
}

const loadStatusOf = (loaded: LoadedCni): string =>
  'networks' in loaded ? 'OK' : `cni config load failed: ${loaded.failure}`;

const configOf = ({ defaultHandler, handlers, cni, ignoredDeprecations }: RuntimeSettings): object => ({
  containerd: {
    defaultRuntimeName: defaultHandler,
    runtimes: Object.fromEntries(Array.from(handlers.values(), (handler) => [handler.name, shown(handler)])),
  },
  cni: { binDirs: cni.binDirs, confDir: cni.confDir, maxConfNum: cni.maxConfNum },
  ignoreDeprecationWarnings: ignoredDeprecations,
});

const shown = (handler: RuntimeHandler): object => ({
  runtimeType: handler.type,
  runtimePath: handler.path,
  options: handler.systemdCgroup === undefined ? {} : { SystemdCgroup: handler.systemdCgroup },
  snapshotter: handler.snapshotter,
  sandboxer: handler.sandboxer,
  cniConfDir: handler.cniConfDir,
  cniMaxConfNum: handler.cniMaxConfNum,
});

const cniConfigOf = ({ binDirs, confDir, maxConfNum }: CniSettings, loaded: LoadedCni): object => ({
  PluginDirs: binDirs,
  PluginConfDir: confDir,
  PluginMaxConfNum: maxConfNum,
  Prefix: 'eth',
  Networks: ('networks' in loaded ? loaded.networks : []).map((network, index) => ({
    Config: {
      Name: network.name,
      CNIVersion: network.cniVersion,
      Plugins: network.plugins.map(({ document }) => ({
        Network: document,
        Source: JSON.stringify(document),
      })),
      Source: JSON.stringify(network.document),
    },
    IFName: `eth${index}`,
  })),
});
