/** A plugin that serves RPCs and has no settings: most of those of type io.containerd.grpc.v1. */
import { noConfig } from '../../core/plugins/config-table.ts';
import type { Plugin, PluginContext } from '../../core/plugins/plugin.ts';
import { definePlugin } from './define-plugin.ts';
import { grpcType, type RpcServices } from './tokens.ts';

export const defineService = (
  id: string,
  requires: Plugin['requires'],
  init: (plugin: PluginContext<undefined>) => RpcServices,
): Plugin => definePlugin({ type: grpcType.type, id, requires, config: noConfig, init });
