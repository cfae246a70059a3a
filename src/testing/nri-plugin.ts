/** An NRI plugin in TypeScript, on ttrpc of our own: at the other end of the connection that the runtime has. */
import { connect, Socket } from 'node:net';
import { silentLogger } from '../base/logger.ts';
import { Plugin, Runtime } from '../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { type Client, type Handlers, serve } from '../wire/service.ts';
import { TtrpcConnection } from '../wire/ttrpc/client.ts';
import { Mux, muxConnections } from '../wire/ttrpc/mux.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';

export interface TestPlugin extends AsyncDisposable {
  readonly runtime: Client<typeof Runtime>;
  readonly closed: Promise<void>;
  register(index: string, name: string): Promise<void>;
}

/** `at` is the path of the socket, or an inherited descriptor. Register to begin. */
export function testPlugin(at: string | number, handlers: Handlers<typeof Plugin>): TestPlugin {
  const socket = typeof at === 'string' ? connect({ path: at }) : new Socket({ fd: at });
  const mux = new Mux(socket);
  const server = new TtrpcServer({ services: [serve(Plugin, handlers)], log: silentLogger });
  server.serveSocket(mux.open(muxConnections.plugin));
  const runtime = new TtrpcConnection(mux.open(muxConnections.runtime)).client(Runtime);
  return {
    runtime,
    closed: mux.closed,
    register: async (pluginIdx, pluginName) => {
      await runtime.registerPlugin({ pluginIdx, pluginName });
    },
    [Symbol.asyncDispose]: async () => {
      mux.destroy();
      await mux.closed;
      await server.shutdown(0);
    },
  };
}
