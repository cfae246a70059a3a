/** A metadata store on a directory of its own, for the tests beside, with a snapshotter that lives in memory. */
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AnyValue } from '../../base/any-value.ts';
import { background, type Context, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { parseNamespace, type SnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import type { Mount } from '../../platform/mount.ts';
import { LocalContentStore } from '../content/local-store.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import { Collector } from '../gc/collector.ts';
import type { SnapshotTransaction } from '../snapshots/snapshot-records.ts';
import type { PrepareOptions, SnapshotInfo, Snapshotter, SnapshotUsage } from '../snapshots/snapshotter.ts';
import type { ContentSharing } from './content.ts';
import { Database } from './database.ts';
import { MetadataStore } from './metadata.ts';
import { metadataMigrations } from './schema.ts';
import { SnapshotRecordStore } from './snapshot-records.ts';

/** Bytes that can be told from their name: a few, or more than one write. */
export const crashBytes = (name: string): Buffer =>
  Buffer.from(`${name} `.repeat(name.length % 2 === 0 ? 3 : 5000));

export interface PublishedEvent {
  readonly namespace: string | undefined;
  readonly topic: string;
  readonly event: AnyValue;
}

class RecordedEvents implements EventPublisher {
  readonly published: PublishedEvent[] = [];

  async publish(ctx: Context, topic: string, event: AnyValue): Promise<void> {
    this.published.push({ namespace: ctx.namespace, topic, event });
  }

  topics(): string[] {
    return this.published.map(({ topic }) => topic);
  }
}

/** A back end without file systems: records only. */
class RecordsSnapshotter implements Snapshotter, Disposable {
  readonly name: string;
  readonly capabilities = ['rebase'];
  readonly records: SnapshotRecordStore;
  /** Thrown by the next call of that name, once. */
  readonly failures = new Map<'prepare' | 'commit' | 'remove', Error>();
  cleanups = 0;

  constructor(name: string, path: string) {
    this.name = name;
    this.records = new SnapshotRecordStore(path);
  }

  async stat(_ctx: Context, key: SnapshotKey): Promise<SnapshotInfo> {
    return this.records.write((transaction) =>
      transaction.setLabels(key, transaction.get(key)?.labels ?? {}),
    );
  }

  async update(_ctx: Context, info: Pick<SnapshotInfo, 'key' | 'labels'>): Promise<SnapshotInfo> {
    return this.records.write((transaction) => transaction.setLabels(info.key, info.labels));
  }

  async usage(_ctx: Context, key: SnapshotKey): Promise<SnapshotUsage> {
    return this.records.read((transaction) => transaction.usage(key) ?? { sizeBytes: 0, inodes: 0 });
  }

  async mounts(_ctx: Context, key: SnapshotKey): Promise<Mount[]> {
    return this.records.read((transaction) => mountsOf(transaction, key));
  }

  prepare(_ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#create('active', key, options);
  }

  view(_ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#create('view', key, options);
  }

  async commit(_ctx: Context, name: SnapshotKey, key: SnapshotKey, options: PrepareOptions): Promise<void> {
    this.#failAsTold('commit');
    await this.records.write((transaction) => {
      const { id } = transaction.commit(name, key, options.parent, options.labels ?? {});
      transaction.setUsage(id, { sizeBytes: 1, inodes: 1 });
    });
  }

  async remove(_ctx: Context, key: SnapshotKey): Promise<void> {
    this.#failAsTold('remove');
    await this.records.write((transaction) => transaction.remove(key));
  }

  async *list(_ctx: Context, filters: readonly string[]): AsyncGenerator<SnapshotInfo> {
    const passes = parseFilters(filters);
    for (const info of this.records.read((transaction) => [...transaction.list()]))
      if (passes((path) => (path[0] === 'labels' ? mapField(info.labels, path) : undefined))) yield info;
  }

  async cleanup(): Promise<void> {
    this.cleanups += 1;
  }

  keys(): string[] {
    return this.records.read((transaction) => Array.from(transaction.list(), ({ key }) => key));
  }

  [Symbol.dispose](): void {
    this.records[Symbol.dispose]();
  }

  async #create(kind: 'active' | 'view', key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    this.#failAsTold('prepare');
    return this.records.write((transaction) => {
      transaction.create(kind, key, options.parent, options.labels ?? {});
      return mountsOf(transaction, key);
    });
  }

  #failAsTold(call: 'prepare' | 'commit' | 'remove'): void {
    const failure = this.failures.get(call);
    this.failures.delete(call);
    if (failure !== undefined) throw failure;
  }
}

const mountsOf = (transaction: SnapshotTransaction, key: SnapshotKey): Mount[] => [
  { type: 'bind', source: `/snapshots/${transaction.get(key)?.id}`, target: '', options: ['rbind', 'rw'] },
];

export class StoreFixture implements AsyncDisposable {
  readonly directory: string;
  readonly events = new RecordedEvents();
  readonly database: Database;
  readonly local: LocalContentStore;
  readonly backend: RecordsSnapshotter;
  readonly store: MetadataStore;
  readonly collector: Collector;
  readonly ctx: NamespacedContext;
  readonly #keep: boolean;

  private constructor(directory: string, keep: boolean, contentSharing: ContentSharing) {
    this.directory = directory;
    this.#keep = keep;
    this.database = new Database(join(directory, 'meta.db'), metadataMigrations);
    this.local = new LocalContentStore(join(directory, 'content'));
    mkdirSync(join(directory, 'snapshots'), { recursive: true });
    this.backend = new RecordsSnapshotter('records', join(directory, 'snapshots', 'metadata.db'));
    this.store = new MetadataStore(
      {
        database: this.database,
        contentStore: this.local,
        snapshotters: new Map([['records', this.backend]]),
        events: this.events,
      },
      { contentSharing },
    );
    this.collector = new Collector({ store: this.store });
    this.ctx = this.within('default');
  }

  static async make({
    contentSharing = 'shared',
  }: {
    contentSharing?: ContentSharing;
  } = {}): Promise<StoreFixture> {
    return new StoreFixture(await mkdtemp(join(tmpdir(), 'gantry-metadata-')), false, contentSharing);
  }

  /** Over a directory that stays. */
  static reopen(directory: string): StoreFixture {
    return new StoreFixture(directory, true, 'shared');
  }

  within(namespace: string): NamespacedContext {
    return withNamespace(background(silentLogger), parseNamespace(namespace));
  }

  /** Lets go of the files, as a process does that ends. */
  close(): void {
    this.database[Symbol.dispose]();
    this.backend[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    if (!this.#keep) await rm(this.directory, { recursive: true, force: true });
  }
}
