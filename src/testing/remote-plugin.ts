/** Services on a unix socket of their own, and the proxy plugin's end of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../base/logger.ts';
import type { ContentStore } from '../core/content/content-store.ts';
import { RemotePlugin } from '../core/plugins/remote-plugin.ts';
import type { Snapshotter } from '../core/snapshots/snapshotter.ts';
import { selectPlatform } from '../platform/select.ts';
import { contentService } from '../services/content.ts';
import { snapshotsService } from '../services/snapshots.ts';
import { GrpcServer } from '../wire/grpc/server.ts';
import type { ServedService } from '../wire/service.ts';
import { UnixListener } from '../wire/unix-listener.ts';

export interface ServedPlugin extends AsyncDisposable {
  readonly address: string;
}

/** At `address`, or in a directory of its own. */
export async function servePlugin(services: readonly ServedService[], at?: string): Promise<ServedPlugin> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'g-plugin-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const { sockets } = await selectPlatform();
  const listener = await UnixListener.listen({ sockets }, at ?? join(directory, 'plugin.sock'));
  cleanup.defer(() => listener.close());
  const server = cleanup.use(new GrpcServer({ log: silentLogger, services }));
  server.attach(listener);
  const held = cleanup.move();
  return { address: listener.path, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** Serves and connects; `plugin` is the name for messages. */
export async function remotePlugin(
  services: readonly ServedService[],
  plugin = 'io.containerd.test.v1.far',
): Promise<{ remote: RemotePlugin } & AsyncDisposable> {
  await using cleanup = new AsyncDisposableStack();
  const { address } = cleanup.use(await servePlugin(services));
  const remote = cleanup.use(new RemotePlugin({ plugin, address }));
  const held = cleanup.move();
  return { remote, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

export const servedSnapshotter = (name: string, snapshotter: Snapshotter): ServedService =>
  snapshotsService({ snapshotters: new Map([[name, snapshotter]]) });

export const servedContent = (content: ContentStore): ServedService => contentService({ content });
