/** A whole store on a directory, as the daemon composes it, without its sockets: for tests that damage and reopen it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { background, type NamespacedContext, withNamespace } from '../base/context.ts';
import { parseNamespace } from '../base/identifiers.ts';
import { silentLogger } from '../base/logger.ts';
import type { ReportedFinding } from '../core/check/finding.ts';
import { type CheckRequest, type CheckSummary, StoreChecker } from '../core/check/store-checker.ts';
import { LocalContentStore } from '../core/content/local-store.ts';
import { WalkingDiffer } from '../core/diff/walking-differ.ts';
import { Exchange } from '../core/events/exchange.ts';
import { Collector } from '../core/gc/collector.ts';
import { Database } from '../core/metadata/database.ts';
import { MetadataStore } from '../core/metadata/metadata.ts';
import { metadataMigrations } from '../core/metadata/schema.ts';
import { SnapshotRecordStore } from '../core/metadata/snapshot-records.ts';
import { Registry } from '../core/registry/registry.ts';
import { NativeSnapshotter } from '../core/snapshots/native.ts';
import { OverlayfsSnapshotter } from '../core/snapshots/overlayfs.ts';
import { ImageTransfers } from '../core/transfer/image-transfers.ts';
import { hostPlatform } from '../oci/platform.ts';
import type { Platform } from '../platform/platform.ts';
import { selectPlatform } from '../platform/select.ts';
import { syncDirectory } from '../platform/sync-directory.ts';

export type SnapshotterName = 'native' | 'overlayfs';

const snapshotters = { native: NativeSnapshotter, overlayfs: OverlayfsSnapshotter } as const;

export interface StoreHostOptions {
  readonly snapshotter: SnapshotterName;
  /** False shows what is lost without it. */
  readonly syncCommit: boolean;
  /** Another one than before: the machine was started anew. */
  readonly boot: string;
}

export interface CheckResult {
  readonly findings: readonly ReportedFinding[];
  readonly summary: CheckSummary;
}

export class StoreHost implements AsyncDisposable {
  readonly directory: string;
  readonly store: MetadataStore;
  readonly backend: NativeSnapshotter | OverlayfsSnapshotter;
  readonly database: Database;
  readonly transfers: ImageTransfers;
  readonly collector: Collector;
  readonly checker: StoreChecker;
  readonly ctx: NamespacedContext;
  readonly #cleanup = new AsyncDisposableStack();

  private constructor(
    directory: string,
    { platform, snapshotter, syncCommit, boot }: StoreHostOptions & { platform: Platform },
    cleanup: AsyncDisposableStack,
  ) {
    this.directory = directory;
    const log = silentLogger;
    const local = new LocalContentStore(join(directory, 'content'), { boot });
    const root = join(directory, snapshotter);
    for (const folder of [root, join(directory, 'metadata')]) mkdirSync(folder, { recursive: true });
    const records = cleanup.use(new SnapshotRecordStore(join(root, 'metadata.db')));
    this.backend = new snapshotters[snapshotter]({ records, platform, log }, { root, syncCommit });
    const backends = new Map([[snapshotter, this.backend]]);
    this.database = cleanup.use(new Database(join(directory, 'metadata', 'meta.db'), metadataMigrations));
    this.store = new MetadataStore(
      { database: this.database, contentStore: local, snapshotters: backends, events: new Exchange() },
      { contentSharing: 'shared' },
    );
    this.collector = new Collector({ store: this.store });
    const { content, images, leases } = this.store;
    const registry = cleanup.use(
      new Registry({ log }, { hostsRoots: [], http: { env: {}, userAgent: 'test' } }),
    );
    const differ = cleanup.use(
      new WalkingDiffer({ content, platform, log }, { tempRoot: join(directory, 'temp') }),
    );
    const views = new Map([[snapshotter, this.store.snapshotter(snapshotter)]]);
    this.transfers = new ImageTransfers(
      { content, images, leases, snapshotters: views, differs: [differ], registry },
      { maxConcurrentDownloads: 3, maxConcurrentUploads: 3 },
    );
    this.checker = new StoreChecker(
      {
        store: this.store,
        backends,
        registry,
        mounts: { list: () => [] },
        collect: async (ctx) => void (await this.collector.run(ctx)),
        hasTask: async () => false,
      },
      { bundleRoot: join(directory, 'bundles') },
    );
    this.ctx = withNamespace(background(log), parseNamespace('default'));
  }

  /** Opens or makes it, and puts right what the daemon's start puts right. */
  static async open(
    directory: string,
    { snapshotter = 'native', syncCommit = true, boot = 'first' }: Partial<StoreHostOptions> = {},
  ): Promise<StoreHost> {
    await using cleanup = new AsyncDisposableStack();
    const platform = await selectPlatform();
    const host = new StoreHost(directory, { platform, snapshotter, syncCommit, boot }, cleanup);
    await host.backend.restoreDirectories(host.ctx);
    syncDirectory(directory);
    host.#cleanup.use(cleanup.move());
    return host;
  }

  /** This machine's platform, unpacked. */
  async pull(reference: string): Promise<void> {
    const into = {
      name: '',
      labels: {},
      platforms: [hostPlatform()],
      allMetadata: false,
      manifestLimit: 0,
      unpacks: [{ snapshotter: this.backend.name }],
    };
    await this.transfers.puller.pull(this.ctx, { reference }, into, () => {});
  }

  async check(request: Partial<CheckRequest> = {}): Promise<CheckResult> {
    const findings: ReportedFinding[] = [];
    let summary: CheckSummary | undefined;
    const events = this.checker.check(this.ctx, { digests: 'full', seed: 1, repair: false, ...request });
    for await (const event of events) {
      if ('finding' in event) findings.push(event.finding);
      if ('summary' in event) summary = event.summary;
    }
    if (summary === undefined) throw new Error('the check ended without a summary');
    return { findings, summary };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}
