import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromBinary, type Message } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import * as fc from 'fast-check';
import { withLease } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { type ErrorCode, hasCode } from '../../base/errors.ts';
import {
  parseContainerId,
  parseImageName,
  parseIngestRef,
  parseLeaseId,
  parseNamespace,
  parseSandboxId,
  parseSnapshotKey,
} from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import {
  ContainerCreateSchema,
  ContainerUpdateSchema,
} from '../../wire/gen/containerd/events/container_pb.js';
import { ImageUpdateSchema } from '../../wire/gen/containerd/events/image_pb.js';
import type { NewContainer } from '../containers/container-store.ts';
import { putContent } from '../content/content-store.suite.ts';
import { defaultGcThresholds, GcScheduler } from '../gc/scheduler.ts';
import type { NewImage } from '../images/image-store.ts';
import type { NewSandbox } from '../sandboxes/sandbox-store.ts';
import { StoreFixture } from './store-fixture.suite.ts';

const rejectsWith = (code: ErrorCode, work: Promise<unknown>): Promise<void> =>
  assert.rejects(
    work,
    (error) => hasCode(error, code) || assert.fail(`expected ${code}, got ${String(error)}`),
  );

function lastEvent<Shape extends Message>(fixture: StoreFixture, schema: GenMessage<Shape>): Shape {
  const event = fixture.events.published.at(-1)?.event;
  assert.equal(event?.typeUrl, schema.typeName);
  return fromBinary(schema, event?.value ?? new Uint8Array());
}

const digest = digestOf('x');
const newImage = (name: string, more: Partial<NewImage> = {}): NewImage => ({
  name: parseImageName(name),
  target: { mediaType: 'application/x', digest, sizeBytes: 3 },
  labels: {},
  ...more,
});

describe('images', () => {
  test('come back as they were made, in their namespace only', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest, sizeBytes: 2 ** 40, annotations: { a: 'b' } };
    const created = await images.create(
      fixture.ctx,
      newImage('x:1', { target, labels: { k: 'v', gone: '' } }),
    );
    assert.deepEqual(await images.get(fixture.ctx, created.name), { ...created, target, labels: { k: 'v' } });
    await rejectsWith('NotFound', images.get(fixture.within('other'), created.name));
    await rejectsWith('AlreadyExists', images.create(fixture.ctx, newImage('x:1')));
    assert.deepEqual(fixture.events.topics(), ['/images/create']);
    const at = instantOfNs(1_000_000_001n);
    const dated = await images.create(fixture.ctx, newImage('y', { at }));
    assert.deepEqual([dated.createdAt, dated.updatedAt], [at, at]);
  });

  test('refuse what is not a target', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest, sizeBytes: 1 };
    await rejectsWith(
      'InvalidArgument',
      images.create(fixture.ctx, newImage('x', { target: { ...target, sizeBytes: 0 } })),
    );
    await rejectsWith(
      'InvalidArgument',
      images.create(fixture.ctx, newImage('x', { target: { ...target, mediaType: '' } })),
    );
    await rejectsWith(
      'InvalidArgument',
      images.create(fixture.ctx, newImage('x', { labels: { k: 'v'.repeat(5000) } })),
    );
    assert.deepEqual(await images.list(fixture.ctx, []), []);
    assert.deepEqual(fixture.events.published, []);
  });

  test('change by mask', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest, sizeBytes: 1, annotations: { a: '1', b: '2' } };
    const created = await images.create(
      fixture.ctx,
      newImage('x', { target, labels: { a: '1', 'b.c': '2' } }),
    );
    const other = { mediaType: 'n', digest: digestOf('y'), sizeBytes: 2, annotations: { a: '3' } };
    const given = newImage('x', { target: other, labels: { 'b.c': '4', z: '5' } });
    const masked = await images.update(fixture.ctx, given, ['labels.b.c', 'annotations.a']);
    assert.deepEqual(masked.labels, { a: '1', 'b.c': '4' });
    assert.deepEqual(masked.target, { ...target, annotations: { a: '3', b: '2' } });
    assert.ok(masked.updatedAt > created.updatedAt && masked.createdAt === created.createdAt);
    assert.deepEqual(lastEvent(fixture, ImageUpdateSchema).labels, { a: '1', 'b.c': '4' });
    assert.deepEqual((await images.update(fixture.ctx, given, ['target'])).target, other);
    assert.deepEqual((await images.update(fixture.ctx, given, [])).labels, given.labels);
    await rejectsWith('InvalidArgument', images.update(fixture.ctx, given, ['name']));
    await rejectsWith('NotFound', images.update(fixture.ctx, newImage('absent'), []));
  });

  test('delete only while the target is still the target; sync waits for a collection', async () => {
    await using fixture = await StoreFixture.make();
    const { images, content } = fixture.store;
    const stored = await putContent(content, fixture.ctx, Buffer.from('x'));
    const { name } = await images.create(fixture.ctx, newImage('x'));
    await rejectsWith('NotFound', images.delete(fixture.ctx, name, { target: digestOf('other') }));
    await using scheduler = new GcScheduler(
      { runner: fixture.collector, log: silentLogger },
      defaultGcThresholds,
    );
    fixture.store.useCollector(scheduler);
    await images.delete(fixture.ctx, name, { target: stored, sync: true });
    await rejectsWith('NotFound', content.info(fixture.ctx, stored));
    await rejectsWith('NotFound', images.delete(fixture.ctx, name, {}));
  });

  test('filter by name, target, label and annotation', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest: digestOf('2'), sizeBytes: 1, annotations: { 'a.b': 'c' } };
    await images.create(fixture.ctx, newImage('one', { labels: { k: 'v' } }));
    await images.create(fixture.ctx, newImage('two', { target }));
    const names = async (...filters: string[]): Promise<string[]> =>
      (await images.list(fixture.ctx, filters)).map(({ name }) => name);
    assert.deepEqual(await names('name==one'), ['one']);
    assert.deepEqual(await names('target.mediatype==m'), ['two']);
    assert.deepEqual(await names(`target.digest==${digest}`), ['one']);
    assert.deepEqual(await names('annotations.a.b'), ['two']);
    assert.deepEqual(await names('labels.k!=v'), ['two']);
    await rejectsWith('InvalidArgument', names('name='));
  });

  test('one that expires joins the lease it is made under', async () => {
    await using fixture = await StoreFixture.make();
    const { images, leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    const leased = withLease(fixture.ctx, id);
    await images.create(leased, newImage('stays'));
    await images.create(
      leased,
      newImage('expires', { labels: { 'containerd.io/gc.expire': '2999-01-01T00:00:00Z' } }),
    );
    assert.deepEqual(await leases.listResources(fixture.ctx, id), [{ type: 'images', id: 'expires' }]);
  });
});

const spec = { typeUrl: 'spec', value: new Uint8Array([0, 255, 1]) };
const newContainer = (id: string, more: Partial<NewContainer> = {}): NewContainer => ({
  id: parseContainerId(id),
  labels: {},
  image: 'img',
  runtime: { name: 'io.containerd.runc.v2', options: { typeUrl: 'o', value: new Uint8Array([7]) } },
  spec,
  snapshotter: 'records',
  snapshotKey: id,
  extensions: {},
  sandbox: '',
  ...more,
});

describe('containers', () => {
  test('come back whole, and say so in the event', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    const created = await containers.create(
      fixture.ctx,
      newContainer('c', { extensions: { __proto__x: spec, e: spec }, sandbox: 's', labels: { a: 'b' } }),
    );
    const found = await containers.get(fixture.ctx, created.id);
    assert.deepEqual(
      { ...found, spec: undefined, extensions: {}, runtime: {} },
      { ...created, spec: undefined, extensions: {}, runtime: {} },
    );
    assert.deepEqual(Buffer.from(found.spec?.value ?? []), Buffer.from(spec.value));
    assert.deepEqual(Object.keys(found.extensions), ['__proto__x', 'e']);
    assert.deepEqual(Buffer.from(found.runtime.options?.value ?? []), Buffer.from([7]));
    const event = lastEvent(fixture, ContainerCreateSchema);
    assert.deepEqual([event.id, event.image, event.runtime?.name], ['c', 'img', 'io.containerd.runc.v2']);
    assert.equal(event.runtime?.options?.typeUrl, 'o');
    await rejectsWith('AlreadyExists', containers.create(fixture.ctx, newContainer('c')));
  });

  test('need a runtime, a spec, and a snapshotter for a key', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    for (const wrong of [
      { runtime: { name: '', options: undefined } },
      { spec: undefined },
      { snapshotter: '' },
      { extensions: { '': spec } },
    ])
      await rejectsWith('InvalidArgument', containers.create(fixture.ctx, newContainer('c', wrong)));
  });

  test('change by mask, and without one only what may change', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    await containers.create(fixture.ctx, newContainer('c', { labels: { a: '1' }, extensions: { x: spec } }));
    const given = newContainer('c', {
      labels: { b: '2' },
      snapshotKey: 'new',
      image: 'other',
      extensions: { y: spec },
    });
    const one = await containers.update(fixture.ctx, given, [
      'snapshotkey',
      'labels.b',
      'extensions.y',
      'extensions.x',
    ]);
    assert.deepEqual([one.snapshotKey, one.image, one.labels], ['new', 'img', { a: '1', b: '2' }]);
    assert.deepEqual(Object.keys(one.extensions), ['y']);
    assert.equal(lastEvent(fixture, ContainerUpdateSchema).snapshotKey, 'new');
    const all = await containers.update(fixture.ctx, given, []);
    assert.deepEqual([all.image, all.labels], ['other', { b: '2' }]);
    await rejectsWith('InvalidArgument', containers.update(fixture.ctx, { ...given, snapshotter: 'n' }, []));
    await rejectsWith('InvalidArgument', containers.update(fixture.ctx, given, ['runtime']));
    await rejectsWith(
      'InvalidArgument',
      containers.update(fixture.ctx, { ...given, spec: undefined }, ['spec']),
    );
    await rejectsWith('NotFound', containers.update(fixture.ctx, newContainer('absent'), []));
  });

  test('filter, and delete', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    for (const id of ['a', 'b']) await containers.create(fixture.ctx, newContainer(id, { labels: { id } }));
    const ids = async (...filters: string[]): Promise<string[]> =>
      (await containers.list(fixture.ctx, filters)).map(({ id }) => id);
    assert.deepEqual(await ids('id==a', 'labels.id==b'), ['a', 'b']);
    assert.deepEqual(await ids('runtime.name==io.containerd.runc.v2,id!=a'), ['b']);
    await containers.delete(fixture.ctx, parseContainerId('a'));
    assert.deepEqual(await ids(), ['b']);
    await rejectsWith('NotFound', containers.delete(fixture.ctx, parseContainerId('a')));
    assert.equal(fixture.events.topics().at(-1), '/containers/delete');
  });
});

describe('sandboxes', () => {
  const sandbox: NewSandbox = {
    id: parseSandboxId('s'),
    runtime: { name: 'r', options: undefined },
    spec: undefined,
    labels: { a: '1' },
    extensions: { x: spec },
    sandboxer: 'shim',
  };

  test('are kept, changed, listed and deleted without events', async () => {
    await using fixture = await StoreFixture.make();
    const { sandboxes } = fixture.store;
    await sandboxes.create(fixture.ctx, sandbox);
    await rejectsWith('AlreadyExists', sandboxes.create(fixture.ctx, sandbox));
    const given = { ...sandbox, labels: { b: '2' }, extensions: {}, runtime: { name: 'r2', options: spec } };
    const updated = await sandboxes.update(fixture.ctx, given, ['labels.b', 'runtime']);
    assert.deepEqual([updated.labels, updated.runtime.name], [{ a: '1', b: '2' }, 'r2']);
    assert.deepEqual(Object.keys((await sandboxes.update(fixture.ctx, given, [])).extensions), []);
    await rejectsWith('InvalidArgument', sandboxes.update(fixture.ctx, given, ['sandboxer']));
    assert.equal((await sandboxes.list(fixture.ctx, ['labels.b==2'])).length, 1);
    await sandboxes.delete(fixture.ctx, sandbox.id);
    await rejectsWith('NotFound', sandboxes.get(fixture.ctx, sandbox.id));
    assert.deepEqual(fixture.events.published, []);
  });
});

describe('leases', () => {
  test('take resources of known types, once', async () => {
    await using fixture = await StoreFixture.make();
    const { leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { id: parseLeaseId('l'), labels: { a: 'b' } });
    await rejectsWith('AlreadyExists', leases.create(fixture.ctx, { id, labels: {} }));
    const resources = [
      { type: 'content', id: digest },
      { type: 'images', id: 'i' },
      { type: 'ingests', id: 'r' },
      { type: 'snapshots/records', id: 'k' },
    ];
    for (const resource of [...resources, ...resources]) await leases.addResource(fixture.ctx, id, resource);
    assert.deepEqual(await leases.listResources(fixture.ctx, id), resources);
    await leases.deleteResource(fixture.ctx, id, { type: 'images', id: 'i' });
    assert.equal((await leases.listResources(fixture.ctx, id)).length, 3);
    const wrong: readonly (readonly [string, string, ErrorCode])[] = [
      ['content', 'not a digest', 'InvalidArgument'],
      ['content/x', digest, 'InvalidArgument'],
      ['snapshots', 'k', 'InvalidArgument'],
      ['snapshots/', 'k', 'InvalidArgument'],
      ['images', '', 'InvalidArgument'],
      ['streams', 'k', 'Unimplemented'],
    ];
    for (const [type, resource, code] of wrong)
      await rejectsWith(code, leases.addResource(fixture.ctx, id, { type, id: resource }));
    await rejectsWith(
      'NotFound',
      leases.addResource(fixture.ctx, parseLeaseId('absent'), { type: 'images', id: 'i' }),
    );
  });

  test('get a name when none is given; filters; deletion takes the resources along', async () => {
    await using fixture = await StoreFixture.make();
    const { leases } = fixture.store;
    const one = await leases.create(fixture.ctx, { labels: { a: 'b' } });
    const two = await leases.create(fixture.ctx, { labels: {} });
    assert.notEqual(one.id, two.id);
    assert.deepEqual(await leases.list(fixture.ctx, ['labels.a==b']), [one]);
    assert.deepEqual(await leases.list(fixture.ctx, [`id==${two.id}`]), [two]);
    await leases.addResource(fixture.ctx, one.id, { type: 'images', id: 'i' });
    await leases.delete(fixture.ctx, one.id, {});
    await rejectsWith('NotFound', leases.listResources(fixture.ctx, one.id));
    await leases.create(fixture.ctx, { id: one.id, labels: {} });
    assert.deepEqual(await leases.listResources(fixture.ctx, one.id), []);
    await rejectsWith('FailedPrecondition', leases.delete(fixture.ctx, two.id, { sync: true }));
  });
});

describe('namespaces', () => {
  test('an absent one has no labels; the first write makes it', async () => {
    await using fixture = await StoreFixture.make();
    const { namespaces, images } = fixture.store;
    const name = parseNamespace('default');
    assert.deepEqual(await namespaces.get(fixture.ctx, name), { name, labels: {} });
    assert.deepEqual(await namespaces.list(fixture.ctx), []);
    await images.create(fixture.ctx, newImage('x'));
    assert.deepEqual(await namespaces.list(fixture.ctx), [{ name, labels: {} }]);
    await rejectsWith('AlreadyExists', namespaces.create(fixture.ctx, { name, labels: {} }));
  });

  test('labels change one by one, or all', async () => {
    await using fixture = await StoreFixture.make();
    const { namespaces } = fixture.store;
    const name = parseNamespace('n');
    await namespaces.create(fixture.ctx, { name, labels: { a: '1', 'b.c': '2' } });
    const update = async (labels: Record<string, string>, paths: string[]): Promise<unknown> =>
      (await namespaces.update(fixture.ctx, { name, labels }, paths)).labels;
    assert.deepEqual(await update({ 'b.c': '3' }, ['labels.b.c', 'labels.a']), { 'b.c': '3' });
    assert.deepEqual(await update({ z: '9' }, []), { z: '9' });
    await rejectsWith('InvalidArgument', update({}, ['labels']));
    await rejectsWith('InvalidArgument', update({}, ['name']));
    assert.equal(fixture.events.published.at(-1)?.namespace, 'n');
  });

  test('one with something in it is not deleted, and says what', async () => {
    await using fixture = await StoreFixture.make();
    const { namespaces, images, content, containers, leases, sandboxes } = fixture.store;
    const name = parseNamespace('default');
    await rejectsWith('NotFound', namespaces.delete(fixture.ctx, name));
    await images.create(fixture.ctx, newImage('x'));
    await putContent(content, fixture.ctx, Buffer.from('x'));
    await containers.create(fixture.ctx, newContainer('c'));
    await fixture.store.snapshotter('records').prepare(fixture.ctx, parseSnapshotKey('k'), {});
    await assert.rejects(
      namespaces.delete(fixture.ctx, name),
      /namespace "default" must be empty, but it still has images, blobs, containers, snapshots on records snapshotter$/,
    );
    await images.delete(fixture.ctx, parseImageName('x'), {});
    await content.delete(fixture.ctx, digestOf('x'));
    await containers.delete(fixture.ctx, parseContainerId('c'));
    await fixture.store.snapshotter('records').remove(fixture.ctx, parseSnapshotKey('k'));
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    await (await content.writer(withLease(fixture.ctx, id), { ref: parseIngestRef('r') }))[
      Symbol.asyncDispose
    ]();
    await sandboxes.create(fixture.ctx, {
      id: parseSandboxId('s'),
      runtime: { name: 'r', options: undefined },
      spec: undefined,
      labels: {},
      extensions: {},
      sandboxer: '',
    });
    await namespaces.delete(fixture.ctx, name);
    assert.deepEqual(await namespaces.list(fixture.ctx), []);
    assert.deepEqual(await leases.list(fixture.ctx, []), []);
    assert.deepEqual(await content.listStatuses(fixture.ctx, []), []);
    assert.equal(fixture.events.topics().at(-1), '/namespaces/delete');
  });
});

test('images, leases and labels answer as plain maps would, whatever the order of calls', async () => {
  const names = fc.constantFrom('a', 'b', 'c');
  const labelMaps = fc.dictionary(
    fc.constantFrom('k', 'l.m', '__proto__', 'constructor'),
    fc.constantFrom('', '1', '2'),
    { noNullPrototype: true },
  );
  const call = fc.oneof(
    fc.record({ kind: fc.constant('create' as const), name: names, labels: labelMaps }),
    fc.record({ kind: fc.constant('replace' as const), name: names, labels: labelMaps }),
    fc.record({
      kind: fc.constant('set' as const),
      name: names,
      labels: labelMaps,
      key: fc.constantFrom('k', 'l.m', '__proto__'),
    }),
    fc.record({ kind: fc.constant('delete' as const), name: names }),
    fc.record({ kind: fc.constant('lease' as const), name: names }),
    fc.record({ kind: fc.constant('unlease' as const), name: names }),
    fc.record({ kind: fc.constant('reopen' as const), name: names }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(call, { maxLength: 25 }), async (calls) => {
      await using first = await StoreFixture.make();
      let fixture = first;
      const images = new Map<string, Map<string, string>>();
      const leased = new Set<string>();
      const clean = (labels: Record<string, string>): Map<string, string> =>
        new Map(Object.entries(labels).filter(([, value]) => value !== ''));
      for (const step of calls) {
        const name = parseImageName(step.name);
        const id = parseLeaseId(step.name);
        const { store, ctx } = fixture;
        if (step.kind === 'create') {
          const work = store.images.create(ctx, newImage(step.name, { labels: step.labels }));
          if (images.has(step.name)) await rejectsWith('AlreadyExists', work);
          else images.set(step.name, (await work, clean(step.labels)));
        } else if (step.kind === 'replace' || step.kind === 'set') {
          const paths = step.kind === 'set' ? [`labels.${step.key}`] : ['labels'];
          const work = store.images.update(ctx, newImage(step.name, { labels: step.labels }), paths);
          const current = images.get(step.name);
          if (current === undefined) await rejectsWith('NotFound', work);
          else {
            await work;
            if (step.kind === 'replace') images.set(step.name, clean(step.labels));
            else {
              const value = clean(step.labels).get(step.key);
              if (value === undefined) current.delete(step.key);
              else current.set(step.key, value);
            }
          }
        } else if (step.kind === 'delete') {
          const work = store.images.delete(ctx, name, {});
          if (images.delete(step.name)) await work;
          else await rejectsWith('NotFound', work);
        } else if (step.kind === 'lease') {
          const work = store.leases.create(ctx, { id, labels: {} });
          if (leased.has(step.name)) await rejectsWith('AlreadyExists', work);
          else leased.add((await work, step.name));
        } else if (step.kind === 'unlease') {
          const work = store.leases.delete(ctx, id, {});
          if (leased.delete(step.name)) await work;
          else await rejectsWith('NotFound', work);
        } else {
          fixture.close();
          fixture = StoreFixture.reopen(first.directory);
        }
      }
      const found = await fixture.store.images.list(fixture.ctx, []);
      assert.deepEqual(
        new Map(found.map((image) => [image.name as string, new Map(Object.entries(image.labels))])),
        new Map([...images].toSorted(([a], [b]) => (a < b ? -1 : 1))),
      );
      const ids = (await fixture.store.leases.list(fixture.ctx, [])).map((lease) => lease.id as string);
      assert.deepEqual(ids, [...leased].toSorted());
      fixture.close();
    }),
    { numRuns: 40 },
  );
});
