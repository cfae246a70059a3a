/** A metadata store and, beside it, a naive model of what should be in it. */
import assert from 'node:assert/strict';
import { withLease } from '../../base/context.ts';
import { type Digest, digestOf } from '../../base/digest.ts';
import {
  type LeaseId,
  parseContainerId,
  parseImageName,
  parseIngestRef,
  parseLeaseId,
  parseSandboxId,
  parseSnapshotKey,
} from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { putContent } from '../content/content-store.suite.ts';
import { MetadataMountStore } from '../metadata/mounts.ts';
import type { StoreFixture } from '../metadata/store.fixture.ts';
import { StreamManager, type ValueStream } from '../streaming/stream-manager.ts';
import type { Collectible } from './collectible.ts';
import { container, past } from './labelled-objects.fixture.ts';

/** Objects of each kind: numbers below. */
export const size = 4;
const future = '2999-01-01T00:00:00Z';
const bytesOf = (nth: number): Buffer => Buffer.from(`bytes ${nth}`);
const digestAt = (nth: number): Digest => digestOf(bytesOf(nth));

/** What a label of the model says: `name kind nth`. */
export type Edge = readonly [label: 'ref' | 'bref', kind: string, nth: number];

interface ModelNode {
  readonly edges: readonly Edge[];
  readonly parent?: string | undefined;
  readonly target?: string | undefined;
  readonly isRoot: boolean;
  readonly lease?: string | undefined;
}

interface ModelLease {
  readonly isFlat: boolean;
  readonly isExpired: boolean;
  readonly resources: Set<string>;
}

const labelOfEdge = ([label, kind, nth]: Edge, at: number): [string, string] => {
  const prefix = `containerd.io/gc.${label}.`;
  if (kind === 'snapshot') return [`${prefix}snapshot.records/${at}`, `s${nth}`];
  return [
    `${prefix}${kind}${at % 2 === 0 ? '.' : '/'}x${at}`,
    kind === 'content' ? digestAt(nth) : idOf(kind, nth),
  ];
};

const idOf = (kind: string, nth: number): string => `${kind[0]}${kind.length}-${nth}`;
const labelsOf = (edges: readonly Edge[], extra: Labels = {}): Labels => ({
  ...extra,
  ...Object.fromEntries(edges.map(labelOfEdge)),
});

const noStream: ValueStream = { send: async () => {}, receive: async () => undefined, close: async () => {} };

/** Each call does to both what it says, or nothing where the model has no object of that number, or one already. */
export class ModelledStore implements AsyncDisposable {
  readonly fixture: StoreFixture;
  readonly mounts: MetadataMountStore;
  readonly streams = new StreamManager();
  readonly nodes = new Map<string, ModelNode>();
  readonly leases = new Map<string, ModelLease>();

  constructor(fixture: StoreFixture) {
    this.fixture = fixture;
    this.mounts = new MetadataMountStore(fixture.store);
    const mounts: Collectible = {
      kind: 'mount',
      objects: () => this.mounts.objects(),
      removal: this.mounts.removal,
      free: async () => {},
    };
    fixture.store.collectibles.push(this.streams, mounts);
  }

  async putContent(
    nth: number,
    edges: readonly Edge[],
    isRoot: boolean,
    lease: string | undefined,
  ): Promise<void> {
    if (this.nodes.has(`content ${nth}`)) return;
    const labels = labelsOf(edges, isRoot ? { 'containerd.io/gc.root': 'x' } : {});
    await putContent(this.fixture.store.content, this.#ctx(lease), bytesOf(nth), { labels });
    this.nodes.set(`content ${nth}`, { edges, isRoot });
    this.#join(lease, `content ${nth}`);
  }

  async relabelContent(nth: number, edges: readonly Edge[]): Promise<void> {
    if (!this.nodes.has(`content ${nth}`)) return;
    await this.fixture.store.content.update(
      this.fixture.ctx,
      { digest: digestAt(nth), labels: labelsOf(edges) },
      [],
    );
    this.nodes.set(`content ${nth}`, { edges, isRoot: false });
  }

  async commitSnapshot(
    nth: number,
    parent: number,
    edges: readonly Edge[],
    lease: string | undefined,
  ): Promise<void> {
    const name = `snapshot ${nth}`;
    if (this.nodes.has(name)) return;
    const under = this.nodes.has(`snapshot ${parent}`) && parent !== nth ? parent : undefined;
    const snapshotter = this.fixture.store.snapshotter('records');
    const ctx = this.#ctx(lease);
    await snapshotter.prepare(
      ctx,
      parseSnapshotKey(`active ${nth}`),
      under === undefined ? {} : { parent: parseSnapshotKey(`s${under}`) },
    );
    await snapshotter.commit(ctx, parseSnapshotKey(`s${nth}`), parseSnapshotKey(`active ${nth}`), {
      labels: labelsOf(edges),
    });
    this.nodes.set(name, {
      edges,
      isRoot: false,
      parent: under === undefined ? undefined : `snapshot ${under}`,
    });
    this.#join(lease, name);
  }

  async createImage(nth: number, target: number, edges: readonly Edge[], expires: boolean): Promise<void> {
    const name = idOf('image', nth);
    if (this.nodes.has(`image ${nth}`)) return;
    await this.fixture.store.images.create(this.fixture.ctx, {
      name: parseImageName(name),
      target: { mediaType: 'x', digest: digestAt(target), sizeBytes: 1 },
      labels: labelsOf(edges, expires ? { 'containerd.io/gc.expire': past } : {}),
    });
    this.nodes.set(`image ${nth}`, { edges, isRoot: !expires, target: `content ${target}` });
  }

  async createContainer(nth: number, snapshot: number, edges: readonly Edge[]): Promise<void> {
    if (this.nodes.has(`container ${nth}`)) return;
    await this.fixture.store.containers.create(
      this.fixture.ctx,
      container(idOf('container', nth), `s${snapshot}`, { labels: labelsOf(edges) }),
    );
    this.nodes.set(`container ${nth}`, { edges, isRoot: true, parent: `snapshot ${snapshot}` });
  }

  async createSandbox(nth: number, edges: readonly Edge[]): Promise<void> {
    if (this.nodes.has(`sandbox ${nth}`)) return;
    await this.fixture.store.sandboxes.create(this.fixture.ctx, {
      id: parseSandboxId(idOf('sandbox', nth)),
      runtime: { name: 'r', options: undefined },
      spec: undefined,
      labels: labelsOf(edges),
      extensions: {},
      sandboxer: '',
    });
    // Back references of a sandbox mean nothing: nobody collects it.
    this.nodes.set(`sandbox ${nth}`, { edges: edges.filter(([label]) => label === 'ref'), isRoot: true });
  }

  async createLease(nth: number, isFlat: boolean, isExpired: boolean): Promise<void> {
    const id = idOf('lease', nth);
    if (this.leases.has(id)) return;
    await this.fixture.store.leases.create(this.fixture.ctx, {
      id: parseLeaseId(id),
      labels: {
        'containerd.io/gc.expire': isExpired ? past : future,
        ...(isFlat ? { 'containerd.io/gc.flat': 'x' } : {}),
      },
    });
    this.leases.set(id, { isFlat, isExpired, resources: new Set() });
  }

  async lease(
    nth: number,
    kind: 'content' | 'snapshot' | 'image',
    of: number,
    remove: boolean,
  ): Promise<void> {
    const id = idOf('lease', nth);
    const lease = this.leases.get(id);
    if (lease === undefined) return;
    const resource = {
      content: { type: 'content', id: digestAt(of) },
      snapshot: { type: 'snapshots/records', id: `s${of}` },
      image: { type: 'images', id: idOf('image', of) },
    }[kind];
    const { leases } = this.fixture.store;
    if (remove) await leases.deleteResource(this.fixture.ctx, id as LeaseId, resource);
    else await leases.addResource(this.fixture.ctx, id as LeaseId, resource);
    if (remove) lease.resources.delete(`${kind} ${of}`);
    else lease.resources.add(`${kind} ${of}`);
  }

  async openIngest(nth: number, lease: string | undefined): Promise<void> {
    const name = `ingest ${nth}`;
    if (this.nodes.has(name)) return;
    const writer = await this.fixture.store.content.writer(this.#ctx(lease), {
      ref: parseIngestRef(idOf('ingest', nth)),
    });
    await writer[Symbol.asyncDispose]();
    // One that was made under a lease lives as long as that.
    this.nodes.set(name, { edges: [], isRoot: lease === undefined });
    this.#join(lease, name);
  }

  async activateMount(nth: number, edges: readonly Edge[], lease: string | undefined): Promise<void> {
    const name = `mount ${nth}`;
    if (this.nodes.has(name)) return;
    const backEdges = edges.filter(([label]) => label === 'bref');
    const number = await this.mounts.begin(this.#ctx(lease), idOf('mount', nth), labelsOf(edges), 'boot');
    await this.mounts.complete(number, [], []);
    this.nodes.set(name, { edges: backEdges, isRoot: false, lease });
  }

  async openStream(nth: number, lease: string | undefined): Promise<void> {
    const name = `stream ${nth}`;
    if (this.nodes.has(name)) return;
    this.streams.register(this.fixture.ctx.namespace, idOf('stream', nth), noStream, {
      lease: lease as LeaseId,
    });
    this.nodes.set(name, { edges: [], isRoot: lease === undefined, lease });
  }

  async remove(kind: 'image' | 'container' | 'sandbox' | 'lease', nth: number): Promise<void> {
    const { images, containers, sandboxes, leases } = this.fixture.store;
    const id = idOf(kind, nth);
    if (kind === 'lease' ? !this.leases.has(id) : !this.nodes.has(`${kind} ${nth}`)) return;
    if (kind === 'image') await images.delete(this.fixture.ctx, parseImageName(id), {});
    else if (kind === 'container') await containers.delete(this.fixture.ctx, parseContainerId(id));
    else if (kind === 'sandbox') await sandboxes.delete(this.fixture.ctx, parseSandboxId(id));
    else await leases.delete(this.fixture.ctx, parseLeaseId(id), {});
    if (kind === 'lease') this.leases.delete(id);
    else this.nodes.delete(`${kind} ${nth}`);
  }

  async collect(): Promise<void> {
    await this.fixture.collector.run(this.fixture.ctx);
    const alive = this.#alive();
    for (const name of this.nodes.keys()) if (!alive.has(name)) this.nodes.delete(name);
    for (const [id, { isExpired }] of this.leases) if (isExpired) this.leases.delete(id);
  }

  async check(): Promise<void> {
    const { content, images, leases } = this.fixture.store;
    const { ctx } = this.fixture;
    const there = new Set<string>();
    for await (const { digest } of content.list(ctx, []))
      for (let nth = 0; nth < size; nth += 1) if (digest === digestAt(nth)) there.add(`content ${nth}`);
    for await (const { key } of this.fixture.store.snapshotter('records').list(ctx, []))
      there.add(`snapshot ${key.slice(1)}`);
    for (const { name } of await images.list(ctx, [])) there.add(`image ${name.slice(-1)}`);
    for (const { ref } of await content.listStatuses(ctx, [])) there.add(`ingest ${ref.slice(-1)}`);
    for (const { name } of this.mounts.list(ctx, [])) there.add(`mount ${name.slice(-1)}`);
    for (const { id } of this.streams.objects()) there.add(`stream ${id.slice(-1)}`);
    const expected = [...this.nodes.keys()].filter((name) => !/^(?:container|sandbox) /.test(name));
    assert.deepEqual([...there].toSorted(), expected.toSorted());
    const blobs = await Array.fromAsync(this.fixture.local.blobs());
    for (const name of expected.filter((each) => each.startsWith('content ')))
      assert.ok(
        blobs.includes(digestAt(Number(name.slice('content '.length)))),
        `${name} has lost its bytes`,
      );
    assert.deepEqual(
      (await leases.list(ctx, [])).map(({ id }) => id).toSorted(),
      [...this.leases.keys()].toSorted(),
    );
  }

  /** The rules, one after another, until nothing changes. */
  #alive(): ReadonlySet<string> {
    const alive = new Set<string>();
    const flat = new Set<string>();
    for (const [name, { isRoot }] of this.nodes) if (isRoot) alive.add(name);
    for (const { isExpired, isFlat, resources } of this.leases.values())
      if (!isExpired)
        for (const name of resources) (isFlat && !name.startsWith('ingest ') ? flat : alive).add(name);
    for (const [name, { lease }] of this.nodes)
      if (lease !== undefined && this.leases.get(lease)?.isExpired === false) alive.add(name);
    for (let before = -1; before !== alive.size + flat.size; ) {
      before = alive.size + flat.size;
      for (const [name, node] of this.nodes) {
        const held = [node.parent, node.target].filter((each) => each !== undefined);
        if (flat.has(name)) for (const each of held) flat.add(each);
        if (alive.has(name)) for (const each of held) alive.add(each);
        for (const [label, kind, nth] of node.edges)
          if (label === 'ref' && alive.has(name)) alive.add(`${kind} ${nth}`);
          else if (label === 'bref' && alive.has(`${kind} ${nth}`)) alive.add(name);
      }
    }
    return alive.union(flat);
  }

  #ctx(lease: string | undefined) {
    return lease === undefined ? this.fixture.ctx : withLease(this.fixture.ctx, lease as LeaseId);
  }

  #join(lease: string | undefined, name: string): void {
    if (lease !== undefined) this.leases.get(lease)?.resources.add(name);
  }

  /** Of those there are. */
  someLease(nth: number): string | undefined {
    const id = idOf('lease', nth);
    return this.leases.has(id) ? id : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fixture[Symbol.asyncDispose]();
  }
}
