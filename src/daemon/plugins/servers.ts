/**
 * Listeners as plugins (io.containerd.server.v1), as containerd has them since 2.3. They require every type that
 * serves, so they start last, and stop first.
 */
import { limits } from '../../base/limits.ts';
import type { ConfigTable, Plugin } from '../../core/plugins/plugin.ts';
import { GrpcServer } from '../../wire/grpc/server.ts';
import { UnixListener } from '../../wire/unix-listener.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { grpcType, serverType, ttrpcType } from './tokens.ts';

interface SocketConfig {
  readonly uid: number;
  readonly gid: number;
}

const readOwner = (table: ConfigTable): SocketConfig => ({
  uid: table.integer('uid', 0),
  gid: table.integer('gid', 0),
});

export function servers({ platform, log, calls, configuration }: BuiltinDependencies): Plugin[] {
  const grpc = definePlugin({
    type: serverType.type,
    id: 'grpc',
    requires: [grpcType.type, ttrpcType.type],
    config: (table) => {
      table.string('address', configuration.address);
      return {
        ...readOwner(table),
        maxRecvBytes: table.integer('max_recv_message_size', limits.grpcMessageBytes),
        maxSendBytes: table.integer('max_send_message_size', limits.grpcMessageBytes),
      };
    },
    init: async ({ all, config, onStop }) => {
      const services = [...all(grpcType).values()].flat();
      const server = new GrpcServer(
        { services, log, calls },
        { maxMessageBytes: Math.max(config.maxRecvBytes, config.maxSendBytes) },
      );
      onStop({ [Symbol.asyncDispose]: () => server.shutdown(limits.serverStopMs) });
      const { uid, gid } = config;
      const listener = await UnixListener.listen(platform, configuration.address, { mode: 0o660, uid, gid });
      onStop(listener);
      server.attach(listener);
      return listener;
    },
  });
  return [grpc];
}
