/** The settings of the CRI as its stories need them; daemon/plugins/cri.ts reads them from config.toml. */
import type { AnyValue } from '../base/any-value.ts';
import type { IpPreference } from './network/pod-ips.ts';
import type { SpecSettings } from './spec/spec-facts.ts';

export interface ImageSettings {
  /** Roots of hosts.toml directories, colon-separated; "" for those of the transfer service. */
  readonly registryConfigPath: string;
  /** Of one pull. */
  readonly maxConcurrentDownloads: number;
  /** 0 for none. */
  readonly pullProgressTimeoutMs: number;
  /** By runtime handler; the default one for "" and for handlers that ask for none. */
  readonly snapshotterOf: (handler: string) => string;
  /** Whether a name, spelled out, is that of the image that pods are made with. */
  readonly isPinned: (name: string) => boolean;
}

/** `runtimes.NAME` of the settings. */
export interface RuntimeHandler {
  readonly name: string;
  /** `io.containerd.runc.v2`, … */
  readonly type: string;
  /** Of the shim; "" to find it by the type. */
  readonly path: string;
  /** Message for the shim, of runc's kind; undefined for other runtimes. */
  readonly options: AnyValue | undefined;
  /** What options say of cgroups; undefined where it is no runc. */
  readonly systemdCgroup: boolean | undefined;
  /** "" for the default one. */
  readonly snapshotter: string;
  readonly sandboxer: string;
  /** "" for the default one. */
  readonly cniConfDir: string;
  readonly cniMaxConfNum: number;
  /** What specs of its pods and containers are made by. */
  readonly spec: Pick<SpecSettings, HandlerSpecSetting>;
}

type HandlerSpecSetting =
  | 'podAnnotations'
  | 'containerAnnotations'
  | 'privilegedWithoutHostDevices'
  | 'privilegedWithoutHostDevicesAllDevicesAllowed'
  | 'cgroupWritable';

/** Of pods and containers, whatever their handler. */
export interface PodSettings {
  readonly spec: Omit<SpecSettings, HandlerSpecSetting>;
  /** Network namespaces are below the state directory and not in /run/netns. */
  readonly netnsUnderState: boolean;
  /** Longer lines of a log are cut. */
  readonly maxLogLineBytes: number;
  /** 0 to wait as long as the caller does. */
  readonly drainExecSyncMs: number;
}

export interface PodNetworkSettings {
  readonly setupSerially: boolean;
  readonly ipPreference: IpPreference;
  readonly internalLoopback: boolean;
  /** Path of what UpdateRuntimeConfig fills in; "" for none. */
  readonly confTemplate: string;
}

export interface CniSettings {
  readonly confDir: string;
  readonly binDirs: readonly string[];
  /** 0 for all. */
  readonly maxConfNum: number;
}

export interface RuntimeSettings {
  readonly defaultHandler: string;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly cni: CniSettings;
  readonly ignoredDeprecations: readonly string[];
}

/** All of them. */
export interface CriSettings extends RuntimeSettings {
  readonly pods: PodSettings;
  readonly podNetwork: PodNetworkSettings;
}
