/**
 * The client: one connection, one namespace, and a noun for each thing of the daemon.
 *
 *     await using gantry = connect({ address: '/run/gantry/gantry.sock' });
 *     const image = await gantry.images.pull('docker.io/library/busybox:1', { snapshotter: 'overlayfs' }).image();
 *
 * It works against gantryd and against containerd. Calls throw ContainerdError with the daemon's code.
 */
import type { Connection } from '../wire/service.ts';
import { ContainersClient } from './containers.ts';
import { ContentClient } from './content.ts';
import { EventsClient } from './events.ts';
import { ImagesClient } from './images.ts';
import { IntrospectionClient } from './introspection.ts';
import { LeasesClient } from './leases.ts';
import { NamespacesClient } from './namespaces.ts';
import { Scope } from './scope.ts';
import { SnapshotsClient } from './snapshots.ts';
import { TasksClient } from './tasks.ts';

export class GantryClient implements AsyncDisposable {
  readonly #scope: Scope;
  readonly namespace: string;
  readonly containers: ContainersClient;
  readonly content: ContentClient;
  readonly events: EventsClient;
  readonly images: ImagesClient;
  readonly introspection: IntrospectionClient;
  readonly leases: LeasesClient;
  readonly namespaces: NamespacesClient;
  readonly tasks: TasksClient;

  /** The connection belongs to the client from here on. */
  constructor({ connection }: { connection: Connection }, { namespace }: { namespace: string }) {
    const scope = new Scope({ connection }, { namespace });
    this.#scope = scope;
    this.namespace = namespace;
    this.containers = new ContainersClient(scope);
    this.content = new ContentClient(scope);
    this.events = new EventsClient(scope);
    this.introspection = new IntrospectionClient(scope);
    this.leases = new LeasesClient(scope);
    this.namespaces = new NamespacesClient(scope);
    this.tasks = new TasksClient(scope);
    const snapshots = (snapshotter: string): SnapshotsClient => this.snapshots(snapshotter);
    this.images = new ImagesClient({ scope, content: this.content, snapshots });
  }

  /** The snapshots of one snapshotter. */
  snapshots(snapshotter: string): SnapshotsClient {
    return new SnapshotsClient(this.#scope, { snapshotter });
  }

  /** Resolves when the connection is lost or closed. */
  get closed(): Promise<void> {
    return this.#scope.connection.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.connection[Symbol.asyncDispose]();
  }
}
