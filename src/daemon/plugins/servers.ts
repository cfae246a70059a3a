/**
 * Listeners as plugins (io.containerd.server.v1), as containerd has them since 2.3. They require every service, so
 * they start last, when tasks have been found again, and stop first.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { type ConfigTable, type Plugin, type PluginContext, SkipPlugin } from '../../core/plugins/plugin.ts';
import { GrpcServer } from '../../wire/grpc/server.ts';
import { HttpServer, type Page } from '../../wire/http/server.ts';
import { type HostPort, parseHostPort, type ServerTls, TcpListener } from '../../wire/tcp-listener.ts';
import { TtrpcServer } from '../../wire/ttrpc/server.ts';
import { type ConnectionSource, UnixListener } from '../../wire/unix-listener.ts';
import { debugPages } from '../debug/debug-pages.ts';
import { describeState } from '../debug/state-dump.ts';
import type { ContainerMetrics } from '../metrics/container-metrics.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { grpcType, prometheus, serverType, taskMonitor } from './tokens.ts';

const readOwner = (table: ConfigTable): { readonly uid: number; readonly gid: number } => ({
  uid: table.integer('uid', 0),
  gid: table.integer('gid', 0),
});

const socketMode = 0o660;

/** Undefined for none. */
function readAddress(table: ConfigTable): HostPort | undefined {
  const address = table.string('address', '');
  try {
    return address === '' ? undefined : parseHostPort(address);
  } catch (error) {
    throw table.wrong('address', ContainerdError.from(error).message);
  }
}

function readSocketPath(table: ConfigTable): string {
  const address = table.string('address', '').replace(/^unix:\/\//, '');
  if (address !== '' && !path.isAbsolute(address))
    throw table.wrong(
      'address',
      `must be the absolute path of a unix socket, not ${JSON.stringify(address)}`,
    );
  return address;
}

const readTcp = (table: ConfigTable) => ({
  address: readAddress(table),
  ca: table.string('tls_ca', ''),
  cert: table.string('tls_cert', ''),
  key: table.string('tls_key', ''),
  commonName: table.string('tls_common_name', ''),
});

/** The files of the settings. Errors: InvalidArgument, NotFound. */
function readTls({ ca, cert, key, commonName }: ReturnType<typeof readTcp>): ServerTls | undefined {
  if (cert === '' && key === '' && ca === '') return undefined;
  if (cert === '' || key === '') throw invalidArgument('tls_cert and tls_key must both be set for TLS');
  const read = (file: string): string => (file === '' ? '' : readFileSync(file, 'utf8'));
  return { cert: read(cert), key: read(key), clientCa: read(ca), commonName, protocol: 'h2' };
}

/** The listener, with the server behind it. How the server stops must be said before: listeners close first. */
async function serveOn<Listener extends ConnectionSource & AsyncDisposable>(
  listening: Promise<Listener>,
  server: { attach(source: ConnectionSource): void },
  onStop: PluginContext<unknown>['onStop'],
): Promise<Listener> {
  const listener = await listening;
  onStop(listener);
  server.attach(listener);
  return listener;
}

export function servers({
  platform,
  log,
  calls,
  configuration,
  pluginRecords,
}: BuiltinDependencies): Plugin[] {
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
      return serveOn(UnixListener.listen(platform, configuration.address, options), server, onStop);
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
      return serveOn(UnixListener.listen(platform, config.address, options), server, onStop);
    },
  });

  const grpcTcp = definePlugin({
    type: serverType.type,
    id: 'grpc-tcp',
    requires: [grpcType.type],
    config: readTcp,
    init: async ({ all, config, ctx, onStop }) => {
      if (config.address === undefined) throw new SkipPlugin('no TCP address is configured');
      const services = [...all(grpcType).values()].flatMap(({ grpc: served }) => served);
      const server = new GrpcServer({ services, log, calls });
      onStop({ [Symbol.asyncDispose]: () => server.shutdown(limits.serverStopMs) });
      const tls = readTls(config);
      if (tls === undefined || tls.clientCa === '')
        ctx.log.warn(
          { ...config.address },
          'gRPC is open to everybody who reaches this port, as root: set tls_ca',
        );
      const listener = await serveOn(TcpListener.listen(config.address, tls), server, onStop);
      ctx.log.info({ port: listener.port }, 'gRPC over TCP');
      return listener;
    },
  });

  const debug = definePlugin({
    type: serverType.type,
    id: 'debug',
    requires: [grpcType.type],
    config: (table) => ({ address: readSocketPath(table), owner: readOwner(table) }),
    init: async ({ config, ctx, onStop }) => {
      if (config.address === '') throw new SkipPlugin('no debug address is configured');
      const describe = (): Record<string, unknown> => describeState({ calls, plugins: pluginRecords });
      const server = new HttpServer({ log: ctx.log, pages: debugPages({ calls, describe }) });
      onStop(server);
      // A heap snapshot holds what passed through the daemon, credentials too.
      const mode = config.owner.gid === 0 ? 0o600 : socketMode;
      const options = { mode, ...config.owner };
      return serveOn(UnixListener.listen(platform, config.address, options), server, onStop);
    },
  });

  const metrics = definePlugin({
    type: serverType.type,
    id: 'metrics',
    requires: [prometheus.type, taskMonitor.type],
    config: (table) => readAddress(table),
    init: async ({ config: address, ctx, get, all, onStop }) => {
      if (address === undefined) throw new SkipPlugin('no metrics address is configured');
      const registry = get(prometheus);
      const containers = all<ContainerMetrics | undefined>(taskMonitor).get(taskMonitor.id);
      const scrape = async (): Promise<Page> => ({
        contentType: registry?.contentType ?? 'text/plain',
        body: `${(await registry?.metrics()) ?? ''}${(await containers?.expose(ctx)) ?? ''}`,
      });
      const server = new HttpServer({ log: ctx.log, pages: new Map([['/v1/metrics', scrape]]) });
      onStop(server);
      const listener = await serveOn(TcpListener.listen(address), server, onStop);
      ctx.log.info({ port: listener.port }, 'metrics at /v1/metrics');
      return listener;
    },
  });

  // Shims send their events by ttrpc from the moment that clients can start some by gRPC.
  return [debug, metrics, ttrpc, grpc, grpcTcp];
}
