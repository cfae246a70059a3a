/** What the daemon says about itself. */
import { Introspection } from '../wire/gen/containerd/services/introspection/v1/introspection_pb.js';
import { Version } from '../wire/gen/containerd/services/version/v1/version_pb.js';
import type { Call, Scope } from './scope.ts';

export interface DaemonVersion {
  readonly version: string;
  readonly revision: string;
}

export interface ServerInfo {
  readonly uuid: string;
  readonly pid: number;
  readonly deprecations: readonly { readonly id: string; readonly message: string }[];
}

export interface PluginInfo {
  /** `io.containerd.snapshotter.v1`, … */
  readonly type: string;
  readonly id: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly capabilities: readonly string[];
  /** Why it did not start; "skip plugin" when it does not apply to this machine. */
  readonly error: string | undefined;
}

export class IntrospectionClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  async version(call?: Call): Promise<DaemonVersion> {
    const { version, revision } = await this.#scope.client(Version).version({}, this.#scope.options(call));
    return { version, revision };
  }

  async server(call?: Call): Promise<ServerInfo> {
    const answer = await this.#scope.client(Introspection).server({}, this.#scope.options(call));
    return {
      uuid: answer.uuid,
      pid: Number(answer.pid),
      deprecations: answer.deprecations.map(({ id, message }) => ({ id, message })),
    };
  }

  /** Filters over type and id: `type==io.containerd.snapshotter.v1`. */
  async plugins(filters: readonly string[] = [], call?: Call): Promise<PluginInfo[]> {
    const { plugins } = await this.#scope
      .client(Introspection)
      .plugins({ filters: [...filters] }, this.#scope.options(call));
    return plugins.map((plugin) => ({
      type: plugin.type,
      id: plugin.id,
      exports: plugin.exports,
      capabilities: plugin.capabilities,
      error: plugin.initErr?.message,
    }));
  }
}
