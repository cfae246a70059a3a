/**
 * Content: records against blobs. Whatever is found is looked at again under the blob's gate, which a commit holds from
 * before its bytes are in place until its record is durable: so a pull that goes on meanwhile is never told about, nor
 * touched.
 */
import { type Context, checkSignal } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import {
  type ContentRow,
  contentDigests,
  contentRows,
  dropContent,
  isContentListed,
  setContentSize,
} from '../metadata/check-rows.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import type { ContentRepair } from './content-repair.ts';
import { type DigestMode, isChosen, isIntact } from './digest-sample.ts';
import type { Finding, Problem } from './finding.ts';
import type { Tally } from './tally.ts';
import { imageWords, type Users } from './users.ts';

export interface ContentCheckDependencies {
  readonly store: MetadataStore;
  readonly users: Users;
  readonly repair: ContentRepair;
  readonly tally: Tally;
}

export interface ContentCheckOptions {
  readonly digests: { readonly mode: DigestMode; readonly seed: number };
}

const pageRows = 500;

type Fault = Pick<Finding, 'kind' | 'problem'>;

export class ContentCheck {
  readonly #deps: ContentCheckDependencies;
  readonly #options: ContentCheckOptions;

  constructor(dependencies: ContentCheckDependencies, options: ContentCheckOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** Errors: Canceled; those of the disk. */
  async *records(ctx: Context): AsyncGenerator<Problem> {
    const { database } = this.#deps.store;
    for (let after = ''; ; ) {
      const page = database.read((sql) => contentDigests(sql, after, pageRows));
      for (const digest of page) {
        checkSignal(ctx.signal);
        after = digest;
        const fault = await this.#faultOf(ctx, digest);
        if (fault !== undefined) yield this.#problem(digest, fault);
      }
      if (page.length < pageRows) return;
    }
  }

  /** Blobs without a record: the collector removes them. */
  async *orphans(ctx: Context): AsyncGenerator<Problem> {
    const { contentStore, database, blobGate, changes } = this.#deps.store;
    const isListed = (digest: Digest): boolean => database.read((sql) => isContentListed(sql, digest));
    for await (const digest of contentStore.blobs()) {
      checkSignal(ctx.signal);
      if (isListed(digest)) continue;
      using gate = await blobGate.acquire(digest);
      if (isListed(digest) || (await sizeOf(this.#deps.store, digest)) === undefined) continue;
      gate[Symbol.dispose]();
      changes.contentIsDirty = true;
      yield {
        finding: {
          ...everywhere,
          kind: 'content-orphan',
          severity: 'notice',
          what: digest,
          where: contentStore.pathOf(digest),
          problem: 'the blob is in no namespace',
          remedy: 'the next collection removes it',
        },
        isThere: async () => (await sizeOf(this.#deps.store, digest)) !== undefined && !isListed(digest),
      };
    }
    for (const path of await contentStore.strays())
      yield {
        finding: {
          ...everywhere,
          kind: 'content-stray',
          severity: 'leftover',
          what: path,
          where: path,
          problem: 'this is no blob, and the daemon makes no such file here',
          remedy: 'look what it is and remove it by hand: a check does not remove what it does not know',
        },
      };
  }

  async #faultOf(ctx: Context, digest: Digest): Promise<Fault | undefined> {
    const fault = await this.#look(ctx, digest);
    if (fault === undefined) return undefined;
    // A deletion and a commit may have passed by: what holds still is true.
    using _gate = await this.#deps.store.blobGate.acquire(digest);
    return this.#look(ctx, digest);
  }

  async #look(ctx: Context, digest: Digest): Promise<Fault | undefined> {
    const { store, tally } = this.#deps;
    const sizeBytes = await sizeOf(store, digest);
    const [row] = store.database.read((sql) => contentRows(sql, digest));
    if (row === undefined) return undefined;
    tally.blob(digest, sizeBytes ?? 0);
    if (sizeBytes === undefined)
      return { kind: 'content-missing', problem: 'there is a record and no blob on disk' };
    if (sizeBytes !== row.sizeBytes)
      return {
        kind: 'content-size',
        problem: `the blob on disk has ${sizeBytes} bytes and its record says ${row.sizeBytes}`,
      };
    if (!isChosen(this.#options.digests, digest, sizeBytes)) return undefined;
    await using reader = await store.contentStore.open(digest);
    tally.hashed(digest, sizeBytes);
    return (await isIntact(reader, ctx.signal))
      ? undefined
      : { kind: 'content-corrupt', problem: 'the bytes on disk are not those of the digest' };
  }

  #problem(digest: Digest, fault: Fault): Problem {
    const { store, users, repair } = this.#deps;
    const rows = store.database.read((sql) => contentRows(sql, digest));
    const images = rows.flatMap(({ namespace }) => users.imagesOf(namespace, digest));
    const imageNames = images.map(({ tree }) => tree.image.name);
    const wanted = {
      digest,
      descriptor: images[0]?.tree.blobs.get(digest),
      sizeBytes: Math.max(...rows.map((row) => row.sizeBytes), 0),
      labels: rows.map((row) => row.labels),
      imageNames,
    };
    const sources = repair.sourcesOf(wanted);
    const finding: Finding = {
      ...fault,
      severity: 'damage',
      namespace: rows.map(({ namespace }) => namespace).join(', '),
      what: digest,
      where: store.contentStore.pathOf(digest),
      breaks: images.map(imageWords),
      remedy:
        sources.length === 0
          ? 'nothing says where it came from: its record is dropped, and what has it must be pulled or loaded again'
          : `it is fetched again from ${sources.join(' or ')}, and dropped if none gives it`,
    };
    return { finding, repair: (ctx) => this.#mend(ctx, fault, rows, wanted) };
  }

  async #mend(
    ctx: Context,
    { kind }: Fault,
    rows: readonly ContentRow[],
    wanted: Parameters<ContentRepair['fetch']>[1],
  ): Promise<string> {
    const { store, repair } = this.#deps;
    const { digest } = wanted;
    if (kind === 'content-size' && (await this.#isWhole(ctx, digest))) {
      const sizeBytes = await sizeOf(store, digest);
      await store.database.write((sql) => setContentSize(sql, digest, sizeBytes ?? 0));
      return 'the bytes are right, the size in the record was not: corrected';
    }
    try {
      const { source, sizeBytes } = await repair.fetch(ctx, wanted);
      await store.database.write((sql) => setContentSize(sql, digest, sizeBytes));
      return `fetched again from ${source}`;
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
      using _gate = await store.blobGate.acquire(digest);
      await store.database.write((sql) => dropContent(sql, digest));
      await store.contentStore.removeBlob(digest);
      store.changes.deleted();
      const lost = rows.map(({ namespace }) => namespace).join(', ');
      return `dropped from ${lost}: ${(error as Error).message}`;
    }
  }

  async #isWhole(ctx: Context, digest: Digest): Promise<boolean> {
    await using reader = await this.#deps.store.contentStore.open(digest);
    return isIntact(reader, ctx.signal);
  }
}

const everywhere = { namespace: '', breaks: [] } as const;

async function sizeOf({ contentStore }: MetadataStore, digest: Digest): Promise<number | undefined> {
  try {
    return (await contentStore.blob(digest)).sizeBytes;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}
