/** Dumps into a real metadata store and out of it again, kind ones and hostile ones (needs root for the confinement). */
import assert from 'node:assert/strict';
import { chmodSync, linkSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { type Digest, parseDigest } from '../../../base/digest.ts';
import { parseContainerId, parseIngestRef } from '../../../base/identifiers.ts';
import { silentLogger } from '../../../base/logger.ts';
import { instantOfNs } from '../../../base/time.ts';
import type { Descriptor } from '../../../oci/descriptor.ts';
import { mediaTypes } from '../../../oci/media-types.ts';
import { selectPlatform } from '../../../platform/select.ts';
import { needsRoot } from '../../../testing/needs-root.ts';
import { diffTrees, readTree, type TreeEntry } from '../../../testing/tree.ts';
import { jsonTypeUrls, packAny, packJson } from '../../../wire/any.ts';
import {
  CheckpointOptionsSchema,
  OptionsSchema,
} from '../../../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { TarEntry } from '../../diff/tar-entry.ts';
import { tarEnd, tarEntryHeader, tarPadding } from '../../diff/tar-writer.ts';
import { StoreFixture } from '../../metadata/store.fixture.ts';
import { type Bundle, BundleStore } from './bundle.ts';
import { type CheckpointDependencies, checkpointPath, prepareRestore, saveCheckpoint } from './checkpoint.ts';

const skip = needsRoot('archives are unpacked behind a chroot');
const spec = packJson(jsonTypeUrls.spec, { ociVersion: '1.2.0', hostname: 'dumped' });

test('options say where a dump goes, and those of others say nothing', () => {
  assert.equal(checkpointPath(undefined), '');
  assert.equal(checkpointPath(packAny(CheckpointOptionsSchema, {})), '');
  assert.equal(checkpointPath(packAny(CheckpointOptionsSchema, { imagePath: '/dump' })), '/dump');
  assert.equal(checkpointPath({ typeUrl: 'another.Options', value: new Uint8Array([255]) }), '');
  const malformed = { typeUrl: CheckpointOptionsSchema.typeName, value: new Uint8Array([255]) };
  assert.throws(() => checkpointPath(malformed), { code: 'InvalidArgument' });
});

describe('checkpoints in the content store, as root', { skip }, () => {
  let fixture: StoreFixture;
  let deps: CheckpointDependencies;
  let bundles: BundleStore;
  let made = 0;
  before(async () => {
    fixture = await StoreFixture.make();
    const platform = await selectPlatform();
    deps = { content: fixture.store.content, platform };
    const { directory } = fixture;
    const { mounts } = platform;
    bundles = new BundleStore(
      { mounts, log: silentLogger },
      { root: join(directory, 'root'), state: join(directory, 'state') },
    );
  });
  after(() => fixture[Symbol.asyncDispose]());

  const newBundle = (): Bundle => {
    made += 1;
    return bundles.create(fixture.ctx.namespace, parseContainerId(`c${made}`), spec.value, { shimPath: '' });
  };
  const work = ({ path }: Bundle): string => join(path, 'work');

  async function dump(directory: string): Promise<void> {
    mkdirSync(join(directory, 'deep/er'), { recursive: true });
    writeFileSync(join(directory, 'pages-1.img'), Buffer.alloc(3_000_000, 'page'));
    writeFileSync(join(directory, 'deep/er/empty'), '');
    linkSync(join(directory, 'pages-1.img'), join(directory, 'deep/linked'));
    symlinkSync('../pages-1.img', join(directory, 'deep/symlinked'));
    chmodSync(join(directory, 'deep'), 0o2750);
  }

  const restore = async (
    checkpoint: Descriptor | undefined,
  ): Promise<{ bundle: Bundle; directory: string }> => {
    const bundle = newBundle();
    return {
      bundle,
      directory: await prepareRestore(deps, fixture.ctx, bundle, { checkpoint, options: undefined }),
    };
  };

  test('what comes out is what went in, and nothing is left beside', async () => {
    const bundle = newBundle();
    let dumped: TreeEntry[] = [];
    const watched = async (directory: string): Promise<void> => {
      await dump(directory);
      dumped = await readTree(directory);
    };
    const [image, config] = await saveCheckpoint(deps, fixture.ctx, { bundle, spec, dump: watched });
    assert.ok(dumped.length > 5);
    assert.ok(image && config);
    assert.deepEqual(
      [image.mediaType, config.mediaType],
      [mediaTypes.criuCheckpoint, mediaTypes.checkpointConfig],
    );
    assert.deepEqual(readdirSync(work(bundle)), []);
    assert.deepEqual(await deps.content.listStatuses(fixture.ctx, []), []);
    await using reader = await deps.content.open(fixture.ctx, config.digest);
    const bytes = new Uint8Array(config.sizeBytes);
    await reader.readAt(bytes, 0);
    const { typeUrl, value } = fromBinary(AnySchema, bytes);
    assert.deepEqual({ typeUrl, value: Buffer.from(value) }, { ...spec, value: Buffer.from(spec.value) });

    const { directory } = await restore(image);
    // Its own directory is not part of a dump.
    const below = (tree: readonly TreeEntry[]): TreeEntry[] => tree.filter(({ path }) => path !== '.');
    assert.deepEqual(diffTrees(below(dumped), below(await readTree(directory))), []);
  });

  test('the same spec twice is one blob, and no error', async () => {
    const bundle = newBundle();
    const empty = async (): Promise<void> => {};
    const first = await saveCheckpoint(deps, fixture.ctx, { bundle, spec, dump: empty });
    assert.deepEqual(await saveCheckpoint(deps, fixture.ctx, { bundle, spec, dump: empty }), first);
    assert.deepEqual(await deps.content.listStatuses(fixture.ctx, []), []);
  });

  test('a dump that fails leaves nothing', async () => {
    const bundle = newBundle();
    const fails = async (directory: string): Promise<void> => {
      await dump(directory);
      throw new Error('criu failed');
    };
    await assert.rejects(saveCheckpoint(deps, fixture.ctx, { bundle, spec, dump: fails }), /criu failed/);
    await assert.rejects(saveCheckpoint(deps, fixture.ctx, { bundle, spec: undefined, dump }), {
      code: 'FailedPrecondition',
    });
    assert.deepEqual(readdirSync(work(bundle)), []);
    assert.deepEqual(await deps.content.listStatuses(fixture.ctx, []), []);
  });

  test('a path in the options, or in the descriptor, is taken as it is', async () => {
    const bundle = newBundle();
    const options = packAny(OptionsSchema, { criuImagePath: '/dump' });
    const checkpoint = { mediaType: 'any', digest: digestOf('a'), sizeBytes: 1 };
    assert.equal(await prepareRestore(deps, fixture.ctx, bundle, { checkpoint, options }), '/dump');
    const annotated = { ...checkpoint, annotations: { RestoreFromPath: '/elsewhere' } };
    assert.equal(
      await prepareRestore(deps, fixture.ctx, bundle, { checkpoint: annotated, options: undefined }),
      '/elsewhere',
    );
    assert.equal((await restore(undefined)).directory, '');
  });

  async function archive(
    ...entries: readonly (Partial<TarEntry> & { text?: string })[]
  ): Promise<Descriptor> {
    const blocks = entries.map(({ text = '', ...given }) => {
      const data = Buffer.from(text);
      return Buffer.concat([
        tarEntryHeader({ ...plain, sizeBytes: data.length, ...given }),
        data,
        tarPadding(data.length),
      ]);
    });
    const bytes = Buffer.concat([...blocks, tarEnd()]);
    made += 1;
    await using writer = await deps.content.writer(fixture.ctx, { ref: parseIngestRef(`archive-${made}`) });
    await writer.write(bytes);
    const digest = await writer.commit(fixture.ctx, {});
    return { mediaType: mediaTypes.criuCheckpoint, digest, sizeBytes: bytes.length };
  }

  test('an archive cannot write outside of its directory', async () => {
    const outside = join(fixture.directory, 'outside');
    mkdirSync(outside);
    const climbing = await archive({ path: '../../../../../../outside/climbed', text: 'x' });
    const linked = await archive(
      { path: 'out', kind: 'symlink', linkPath: outside },
      { path: 'out/through', text: 'x' },
    );
    const hard = await archive({ path: 'pass', kind: 'hardlink', linkPath: '/etc/passwd' });
    for (const checkpoint of [climbing, linked, hard])
      await restore(checkpoint).catch((error: unknown) => {
        assert.equal((error as { code?: string }).code, 'InvalidArgument', String(error));
      });
    assert.deepEqual(readdirSync(outside), []);
    await assert.rejects(restore(hard), /pass/);
  });

  test('what is cut, compressed or absent is refused', async () => {
    const bundle = newBundle();
    const cut = await archive({ path: 'file', text: 'x', sizeBytes: 100_000 });
    await assert.rejects(restore(cut), { code: 'InvalidArgument' });
    const absent = { mediaType: mediaTypes.criuCheckpoint, digest: digestOf('b'), sizeBytes: 1 };
    await assert.rejects(restore(absent), {
      code: 'Unknown',
      message: `content digest ${absent.digest}: not found`,
    });
    const checkpoint = { ...absent, mediaType: mediaTypes.ociLayerGzip };
    await assert.rejects(prepareRestore(deps, fixture.ctx, bundle, { checkpoint, options: undefined }), {
      code: 'Unknown',
      message: /^unsupported checkpoint type/,
    });
  });
});

const digestOf = (digit: string): Digest => parseDigest(`sha256:${digit.repeat(64)}`);

const plain: TarEntry = {
  kind: 'file',
  path: '',
  linkPath: '',
  mode: 0o644,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  modifiedAt: instantOfNs(0n),
  deviceMajor: 0,
  deviceMinor: 0,
  xattrs: new Map(),
};
