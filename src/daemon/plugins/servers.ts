/**
 * Listeners as plugins (io.containerd.server.v1), as containerd has them since 2.3. They require every service, so
 * they start last, when tasks have been found again, and stop first.
 */
import { limits } from '../../base/limits.ts';
import type { ConfigTable, Plugin } from '../../core/plugins/plugin.ts';
import { GrpcServer } from '../../wire/grpc/server.ts';
import { TtrpcServer } from '../../wire/ttrpc/server.ts';
import { UnixListener } from '../../wire/unix-listener.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { grpcType, serverType } from './tokens.ts';

const readOwner = (table: ConfigTable): { readonly uid: number; readonly gid: number } => ({
  uid: table.integer('uid', 0),
  gid: table.integer('gid', 0),
});

const socketMode = 0o660;

export function servers({ platform, log, calls, configuration }: BuiltinDependencies): Plugin[] {
  const grpc = definePlugin({
    type: serverType.type,
    id: 'grpc',
    requires: [grpcType.type],
    config: (table) => {
      table.string('address', configuration.address);
      return {
        owner: readOwner(table),
        maxRecvBytes: table.integer('max_recv_message_size', limits.grpcMessageBytes),
        maxSendBytes: table.integer('max_send_message_size', limits.grpcMessageBytes),
      };
    },
    init: async ({ all, config, onStop }) => {
      const services = [...all(grpcType).values()].flatMap(({ grpc: served }) => served);
      const maxMessageBytes = Math.max(config.maxRecvBytes, config.maxSendBytes);
      const server = new GrpcServer({ services, log, calls }, { maxMessageBytes });
      onStop({ [Symbol.asyncDispose]: () => server.shutdown(limits.serverStopMs) });
      const options = { mode: socketMode, ...config.owner };
      const listener = await UnixListener.listen(platform, configuration.address, options);
      onStop(listener);
      server.attach(listener);
      return listener;
    },
  });

  const ttrpc = definePlugin({
    type: serverType.type,
    id: 'ttrpc',
    requires: [grpcType.type],
    config: (table) => ({
      address: table.string('address', `${configuration.address}.ttrpc`),
      owner: readOwner(table),
    }),
    init: async ({ all, config, onStop }) => {
      const services = [...all(grpcType).values()].flatMap(({ ttrpc: served = [] }) => served);
      const server = new TtrpcServer({ services, log, calls }, { sameUserOnly: true });
      onStop({ [Symbol.asyncDispose]: () => server.shutdown(limits.serverStopMs) });
      const options = { mode: socketMode, ...config.owner };
      const listener = await UnixListener.listen(platform, config.address, options);
      onStop(listener);
      server.attach(listener);
      return listener;
    },
  });

  // Shims send their events by ttrpc from the moment that clients can start some by gRPC.
  return [ttrpc, grpc];
}
