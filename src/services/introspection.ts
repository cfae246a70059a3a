/** containerd.services.introspection.v1: what the daemon is made of, and who it is. */
import type { AnyValue } from '../base/any-value.ts';
import type { Context } from '../base/context.ts';
import { absent, failedPrecondition, unimplemented } from '../base/errors.ts';
import type { Instant } from '../base/time.ts';
import { parseFilters } from '../core/filters/filter.ts';
import type { PluginRecord } from '../core/plugins/graph.ts';
import { anyFromWire } from '../wire/any.ts';
import { platformToWire } from '../wire/convert.ts';
import { Introspection } from '../wire/gen/containerd/services/introspection/v1/introspection_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { statusOf } from '../wire/status.ts';
import { timestampOf } from '../wire/timestamps.ts';
import { optionalAny } from './convert.ts';

export interface DeprecationWarning {
  readonly id: string;
  readonly message: string;
  readonly lastOccurrence: Instant;
}

export interface ServerIdentity {
  /** The same for the life of the daemon's root directory. */
  readonly uuid: string;
  readonly pid: number;
  /** Inode of the PID namespace; 0 where there is none. */
  readonly pidNamespace: bigint;
}

export interface IntrospectionServiceDependencies {
  readonly identity: () => ServerIdentity;
  /** All plugins, whatever became of them; asked at each call. */
  readonly plugins: () => readonly PluginRecord[];
  readonly deprecations: () => readonly DeprecationWarning[];
  /** What a plugin tells of itself (a runtime of its shim); undefined when it offers nothing. */
  readonly pluginInfo?: (
    ctx: Context,
    plugin: PluginRecord,
    options: AnyValue,
  ) => Promise<AnyValue> | undefined;
}

const pluginToWire = (plugin: PluginRecord) => ({
  type: plugin.type,
  id: plugin.id,
  requires: [...plugin.requires],
  platforms: plugin.platforms.map(platformToWire),
  exports: { ...plugin.exports },
  capabilities: [...plugin.capabilities],
  ...(plugin.error !== undefined && { initErr: statusOf(plugin.error) }),
});

/** Type and id are what a filter can name. */
const fieldsOf = (plugin: PluginRecord) => (field: readonly string[]) => {
  if (field.length !== 1) return undefined;
  if (field[0] === 'type') return plugin.type;
  return field[0] === 'id' ? plugin.id : undefined;
};

export function introspectionService(dependencies: IntrospectionServiceDependencies): ServedService {
  return serve(Introspection, {
    plugins: async (_ctx, { filters }) => {
      const passes = parseFilters(filters);
      const plugins = dependencies.plugins().filter((plugin) => passes(fieldsOf(plugin)));
      return { plugins: plugins.map(pluginToWire) };
    },
    server: async () => {
      const { uuid, pid, pidNamespace } = dependencies.identity();
      return {
        uuid,
        pid: BigInt(pid),
        pidns: pidNamespace,
        deprecations: dependencies.deprecations().map(({ id, message, lastOccurrence }) => ({
          id,
          message,
          lastOccurrence: timestampOf(lastOccurrence),
        })),
      };
    },
    pluginInfo: async (ctx, request) => {
      const plugin = dependencies
        .plugins()
        .find(({ type, id }) => type === request.type && id === request.id);
      if (plugin === undefined) throw absent(`plugin ${request.type}.${request.id} not found`);
      const options = anyFromWire(request.options);
      if (options === undefined) return { plugin: pluginToWire(plugin) };
      if (plugin.error !== undefined)
        throw failedPrecondition(`plugin ${request.type}.${request.id} did not start`, plugin.error);
      const info = dependencies.pluginInfo?.(ctx, plugin, options);
      if (info === undefined)
        throw unimplemented(`plugin ${request.type}.${request.id} tells nothing of itself`);
      return { plugin: pluginToWire(plugin), ...optionalAny('extra', await info) };
    },
  });
}
