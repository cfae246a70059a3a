/** Transfers over a metadata store, the native snapshotter and the walking differ, with a registry in this process. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { background, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { type Deferred, deferred } from '../../base/deferred.ts';
import type { Digest } from '../../base/digest.ts';
import { parseIngestRef, parseNamespace, parseSnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { ingestRefOf } from '../../oci/media-types.ts';
import { hostPlatform, type Platform } from '../../oci/platform.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform as OsPlatform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { TestRegistry, type TestRegistryOptions } from '../../testing/registry/test-registry.ts';
import { LocalContentStore } from '../content/local-store.ts';
import type { ApplyOptions, CompareOptions, Differ } from '../diff/differ.ts';
import type { StreamProcessor } from '../diff/stream-processor.ts';
import { WalkingDiffer } from '../diff/walking-differ.ts';
import { Exchange } from '../events/exchange.ts';
import { Collector } from '../gc/collector.ts';
import { Database } from '../metadata/database.ts';
import { MetadataStore } from '../metadata/metadata.ts';
import { metadataMigrations } from '../metadata/schema.ts';
import { SnapshotRecordStore } from '../metadata/snapshot-records.ts';
import { Registry } from '../registry/registry.ts';
import { NativeSnapshotter } from '../snapshots/native.ts';
import { OverlayfsSnapshotter } from '../snapshots/overlayfs.ts';
import type { SnapshotInfo } from '../snapshots/snapshotter.ts';
import { ImageTransfers } from './image-transfers.ts';
import type { ImageVerifiers } from './image-verification.ts';
import type { CredentialSource, ImageDestination, RegistryEndpoint, TransferProgress } from './transfer.ts';

/** Bytes that do not compress, so that there is something to cut. */
export const noise = (sizeBytes: number, seed: number): Buffer => {
  const bytes = Buffer.alloc(sizeBytes);
  let state = seed;
  for (let index = 0; index < sizeBytes; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
};

/** Remembers what was applied. */
class WatchedDiffer implements Differ {
  readonly applied: Digest[] = [];
  readonly appliesEarly: boolean;
  readonly #differ: Differ;

  constructor(differ: Differ, { isSequential }: { isSequential: boolean }) {
    this.#differ = differ;
    this.appliesEarly = !isSequential && differ.appliesEarly === true;
  }

  needsStoredBlob(layer: Descriptor): boolean {
    return this.#differ.needsStoredBlob?.(layer) === true;
  }

  apply(ctx: NamespacedContext, layer: Descriptor, mounts: readonly Mount[], options: ApplyOptions) {
    this.applied.push(layer.digest);
    return this.#differ.apply(ctx, layer, mounts, options);
  }

  compare(
    ctx: NamespacedContext,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options: CompareOptions,
  ): Promise<Descriptor> {
    return this.#differ.compare(ctx, lower, upper, options);
  }
}

export type PullRequest = Partial<ImageDestination> &
  Pick<RegistryEndpoint, 'credentials' | 'hostsDir'> & { readonly ctx?: NamespacedContext };

export interface FixtureOptions extends TestRegistryOptions {
  /** `overlayfs` unpacks layers side by side and needs root; `native`, when absent, one after the other. */
  readonly snapshotter?: 'native' | 'overlayfs';
  /** One after the other in any case. */
  readonly isSequential?: boolean;
  readonly verifiers?: ImageVerifiers;
  readonly streamProcessors?: readonly StreamProcessor[];
}

export class TransferFixture implements AsyncDisposable {
  readonly remote: TestRegistry;
  readonly store: MetadataStore;
  readonly differ: WatchedDiffer;
  readonly transfers: ImageTransfers;
  readonly collector: Collector;
  readonly ctx: NamespacedContext;
  /** Of all transfers, in order. */
  readonly progress: TransferProgress[] = [];
  #cleanup: AsyncDisposableStack;
  readonly #snapshotter: string;
  #watchers: { readonly event: string; readonly name: string; readonly seen: Deferred }[] = [];

  private constructor(
    remote: TestRegistry,
    platform: OsPlatform,
    {
      snapshotter = 'native',
      isSequential = false,
      verifiers = new Map(),
      streamProcessors = [],
    }: FixtureOptions,
    cleanup: AsyncDisposableStack,
  ) {
    this.#cleanup = cleanup;
    this.#snapshotter = snapshotter;
    this.remote = remote;
    const directory = mkdtempSync(join(tmpdir(), 'gantry-transfer-'));
    cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
    const database = cleanup.use(new Database(join(directory, 'meta.db'), metadataMigrations));
    const records = cleanup.use(new SnapshotRecordStore(':memory:'));
    const Backend = snapshotter === 'native' ? NativeSnapshotter : OverlayfsSnapshotter;
    const backend = new Backend(
      { records, platform, log: silentLogger },
      { root: join(directory, snapshotter) },
    );
    this.store = new MetadataStore(
      {
        database,
        contentStore: new LocalContentStore(join(directory, 'content')),
        snapshotters: new Map([[snapshotter, backend]]),
        events: new Exchange(),
      },
      { contentSharing: 'shared' },
    );
    this.collector = new Collector({ store: this.store });
    const { content, images, leases } = this.store;
    const walking = new WalkingDiffer(
      { content, platform, log: silentLogger },
      { tempRoot: join(directory, 'mounts'), streamProcessors },
    );
    cleanup.use(walking);
    this.differ = new WatchedDiffer(walking, { isSequential });
    const registry = cleanup.use(
      new Registry(
        { log: silentLogger },
        { hostsRoots: [], http: { userAgent: 'test' }, retry: { backoffMs: 1 } },
      ),
    );
    this.transfers = new ImageTransfers(
      {
        content,
        images,
        leases,
        snapshotters: new Map([[snapshotter, this.store.snapshotter(snapshotter)]]),
        differs: [this.differ],
        registry,
        verifiers,
      },
      { maxConcurrentDownloads: 3, maxConcurrentUploads: 3 },
    );
    this.ctx = this.within('default');
  }

  static async make(options: FixtureOptions = {}): Promise<TransferFixture> {
    await using cleanup = new AsyncDisposableStack();
    const remote = cleanup.use(await TestRegistry.start(options));
    const fixture = new TransferFixture(remote, await selectPlatform(), options, cleanup);
    fixture.#cleanup = cleanup.move();
    return fixture;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }

  within(namespace: string, signal?: AbortSignal): NamespacedContext {
    const ctx = withNamespace(background(silentLogger), parseNamespace(namespace));
    return signal === undefined ? ctx : { ...ctx, signal };
  }

  reference(tag = 'sample:latest'): string {
    return `${this.remote.host}/${tag}`;
  }

  /** This machine's platform, unpacked, unless `request` says otherwise. */
  pull(
    request: PullRequest = {},
    reference = this.reference(),
  ): Promise<{ name: string; target: Descriptor }> {
    const { ctx = this.ctx, credentials, hostsDir, ...into } = request;
    return this.transfers.puller.pull(
      ctx,
      { reference, ...(credentials && { credentials }), ...(hostsDir && { hostsDir }) },
      {
        name: '',
        labels: {},
        platforms: [hostPlatform()],
        allMetadata: false,
        manifestLimit: 0,
        unpacks: [{ snapshotter: this.#snapshotter }],
        ...into,
      },
      (step) => this.#note(step),
    );
  }

  async push(
    name: string,
    reference: string,
    platforms: readonly Platform[] = [],
    credentials?: CredentialSource,
  ): Promise<void> {
    await this.transfers.pusher.push(
      this.ctx,
      { name, platforms },
      { reference, ...(credentials && { credentials }) },
      (step) => this.#note(step),
    );
  }

  /** Resolves with the next report of that event for that piece. */
  async reported(event: string, piece: Descriptor): Promise<void> {
    const watcher = { event, name: ingestRefOf(piece), seen: deferred() };
    this.#watchers.push(watcher);
    await watcher.seen.promise;
  }

  async snapshots(ctx = this.ctx): Promise<SnapshotInfo[]> {
    return Array.fromAsync(this.store.snapshotter(this.#snapshotter).list(ctx, []));
  }

  async digests(ctx = this.ctx): Promise<Digest[]> {
    return (await Array.fromAsync(this.store.content.list(ctx, []))).map(({ digest }) => digest);
  }

  /** The directories of a committed snapshot and those below, the uppermost first, by a view that stays. */
  async rootsOf(chainId: Digest): Promise<string[]> {
    const key = parseSnapshotKey(`view ${chainId}`);
    const [mount] = await this.store
      .snapshotter(this.#snapshotter)
      .view(this.ctx, key, { parent: parseSnapshotKey(chainId) });
    const lowers = mount?.options.find((option) => option.startsWith('lowerdir='));
    return lowers === undefined ? [mount?.source ?? ''] : lowers.slice('lowerdir='.length).split(':');
  }

  /** Of a snapshot that is one directory. */
  async rootOf(chainId: Digest): Promise<string> {
    return (await this.rootsOf(chainId))[0] ?? '';
  }

  /** Nothing is visible of a pull that failed, nothing of it is running, and all its locks are free. */
  async assertNothingLeft(pieces: readonly Descriptor[]): Promise<void> {
    const { content, images } = this.store;
    assert.deepEqual(await images.list(this.ctx, []), []);
    const open = (await this.snapshots()).filter(({ kind }) => kind !== 'committed');
    assert.deepEqual(open, []);
    for (const piece of pieces) {
      const ref = parseIngestRef(ingestRefOf(piece));
      if ((await this.digests()).includes(piece.digest)) continue;
      await using writer = await content.writer(this.ctx, { ref, totalBytes: piece.sizeBytes });
      assert.ok(writer.status().offsetBytes <= piece.sizeBytes);
    }
  }

  #note(step: TransferProgress): void {
    this.progress.push(step);
    const isMet = ({ event, name }: { event: string; name: string }): boolean =>
      event === step.event && name === step.name;
    for (const watcher of this.#watchers.filter(isMet)) watcher.seen.resolve();
    this.#watchers = this.#watchers.filter((watcher) => !isMet(watcher));
  }

  /** GETs of this content that came to the registry. */
  requestsFor(digest: Digest): TestRegistry['requests'] {
    return this.remote.requests.filter(({ method, path }) => method === 'GET' && path.includes(digest));
  }
}
