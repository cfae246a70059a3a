import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { parseDigest } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { withTempMount } from '../../platform/temp-mount.ts';
import { diffTrees, readTree } from '../../testing/tree.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { copyTree } from '../snapshots/copy-tree.ts';
import { ociLayer, ociLayerGzip, ociLayerZstd } from './layer-media-type.ts';
import type { TarEntry } from './tar-entry.ts';
import { TarReader } from './tar-reader.ts';
import { WalkingDiffer } from './walking-differ.ts';

const bind = (source: string): Mount[] => [{ type: 'bind', source, target: '', options: ['rw', 'rbind'] }];

/** A tree to be made: few names, so that two random trees meet. */
interface Plan {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'fifo' | 'device' | 'link';
  readonly mode: number;
  readonly owner: number;
  readonly timeNs: bigint;
  readonly text: string;
  readonly xattr: string | undefined;
  readonly children: readonly Plan[];
}

const { plan } = fc.letrec<{ plan: Plan; children: Plan[] }>((tie) => ({
  plan: fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'é e', 'long'.repeat(40)),
    kind: fc.constantFrom('file', 'file', 'directory', 'directory', 'symlink', 'fifo', 'device', 'link'),
    mode: fc.constantFrom(0o644, 0o755, 0o4711, 0o1777, 0o000),
    owner: fc.constantFrom(0, 7, 70_000),
    timeNs: fc.constantFrom(1_000_000_000n, 5_000_000_001n, 1_700_000_000_123_456_789n),
    text: fc.constantFrom('', 'x', 'y', 'z'.repeat(700)),
    xattr: fc.constantFrom(undefined, undefined, 'one', 'two'),
    children: tie('children'),
  }),
  children: fc.oneof({ maxDepth: 3 }, fc.constant<Plan[]>([]), fc.array(tie('plan'), { maxLength: 3 })),
}));
const forest = fc.array(plan, { maxLength: 6 });

function build(platform: Platform, root: string, plans: readonly Plan[], files: string[] = []): void {
  for (const each of plans) {
    const path = join(root, each.name);
    if (existsSync(path) || readdirSync(root).includes(each.name)) continue;
    if (each.kind === 'link') {
      if (files.length > 0) linkSync(files[each.text.length % files.length]!, path);
      continue;
    }
    if (each.kind === 'symlink') symlinkSync(`../${each.text.slice(0, 5)}x`, path);
    else if (each.kind === 'directory') {
      mkdirSync(path);
      build(platform, path, each.children, files);
    } else if (each.kind === 'fifo') platform.files.makeFifo(path, 0o600);
    else if (each.kind === 'device') platform.files.makeDevice(path, 'block', 0o600, 7, each.owner % 200);
    else {
      writeFileSync(path, each.text);
      files.push(path);
    }
    if (each.kind !== 'symlink') {
      chownSync(path, each.owner, each.owner);
      chmodSync(path, each.mode);
    }
    if (each.xattr !== undefined && (each.kind === 'file' || each.kind === 'directory'))
      platform.files.setXattr(path, 'user.note', Buffer.from(each.xattr));
    platform.files.setTimes(path, instantOfNs(each.timeNs), instantOfNs(each.timeNs));
  }
}

describe('WalkingDiffer', () => {
  let platform: Platform;
  let fixture: StoreFixture;
  let differ: WalkingDiffer;
  let scratch: string;

  before(async () => {
    platform = await selectPlatform();
    scratch = mkdtempSync(join(tmpdir(), 'gantry-differ-'));
    fixture = await StoreFixture.make();
    differ = new WalkingDiffer(
      { content: fixture.store.content, platform, log: silentLogger },
      { tempRoot: join(scratch, 'mounts') },
    );
  });
  after(async () => {
    await differ[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
    assert.deepEqual(readdirSync(join(scratch, 'mounts')), []);
    rmSync(scratch, { recursive: true });
  });

  const folder = (): string => mkdtempSync(join(scratch, 'tree-'));
  const blob = async (digest: string): Promise<Buffer> => {
    await using reader = await fixture.store.content.open(fixture.ctx, parseDigest(digest));
    const bytes = Buffer.alloc(reader.sizeBytes);
    await reader.readAt(bytes, 0);
    return bytes;
  };
  const entriesOf = (tar: Buffer): TarEntry[] => {
    const entries: TarEntry[] = [];
    const reader = new TarReader({ entry: (entry) => entries.push(entry), data: () => {}, end: () => {} });
    reader.push(tar);
    reader.end();
    return entries;
  };

  it('apply(compare(a, b)) on a is b', async () => {
    await fc.assert(
      fc.asyncProperty(
        forest,
        forest,
        fc.constantFrom(ociLayer, ociLayerGzip, ociLayerZstd),
        async (left, right, mediaType) => {
          const [a, b, copy] = [folder(), folder(), folder()];
          build(platform, a, left);
          build(platform, b, right);
          await copyTree(platform.files, a, copy);
          const layer = await differ.compare(fixture.ctx, bind(a), bind(b), { mediaType });
          const applied = await differ.apply(fixture.ctx, layer, bind(copy), {});
          const { labels } = await fixture.store.content.info(fixture.ctx, layer.digest);
          assert.equal(labels['containerd.io/uncompressed'], applied.digest);
          const differences = diffTrees(await readTree(b), await readTree(copy));
          assert.deepEqual(
            differences.filter((line) => !line.startsWith('.: modifiedNs')),
            [],
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  it('apply(compare(a, b)) over an overlay of a looks like b', async () => {
    await fc.assert(
      fc.asyncProperty(forest, forest, async (left, right) => {
        const [a, b, upper, work] = [folder(), folder(), folder(), folder()];
        build(platform, a, left);
        build(platform, b, right);
        const layer = await differ.compare(fixture.ctx, bind(a), bind(b), {});
        const options = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${a}`, 'index=off'];
        const overlay: Mount[] = [{ type: 'overlay', source: 'overlay', target: '', options }];
        await differ.apply(fixture.ctx, layer, overlay, {});
        await withTempMount(platform, overlay, join(scratch, 'mounts'), async (merged) => {
          const differences = diffTrees(await readTree(b), await readTree(merged), { ignore: ['linkCount'] });
          assert.deepEqual(
            differences.filter((line) => !line.startsWith('.: ')),
            [],
          );
        });
      }),
      { numRuns: 40 },
    );
  });

  it('writes whiteouts of time 0, parents first, and nothing for equal trees', async () => {
    const [a, b] = [folder(), folder()];
    mkdirSync(join(a, 'deep/er'), { recursive: true });
    writeFileSync(join(a, 'deep/er/gone'), 'x');
    await copyTree(platform.files, a, b);
    const same = await differ.compare(fixture.ctx, bind(a), bind(b), { mediaType: ociLayer });
    assert.deepEqual(entriesOf(await blob(same.digest)), []);
    rmSync(join(b, 'deep/er/gone'));
    const epoch = instantOfNs(1_000_000_000n);
    const layer = await differ.compare(fixture.ctx, bind(a), bind(b), { sourceDateEpoch: epoch });
    const entries = entriesOf(gunzipSync(await blob(layer.digest)));
    assert.deepEqual(
      entries.map(({ path, modifiedAt }) => [path, modifiedAt]),
      [
        ['deep/', epoch],
        ['deep/er/', epoch],
        ['deep/er/.wh.gone', 0n],
      ],
    );
    assert.equal(layer.mediaType, ociLayerGzip);
  });

  it('compares with nothing, and writes zstd', async () => {
    const b = folder();
    writeFileSync(join(b, 'file'), 'x');
    const layer = await differ.compare(fixture.ctx, [], bind(b), { mediaType: ociLayerZstd });
    const entries = entriesOf(zstdDecompressSync(await blob(layer.digest)));
    assert.deepEqual(
      entries.map(({ path }) => path),
      ['file'],
    );
  });

  it('refuses what is no layer, and blobs that are not there', async () => {
    const layer = await differ.compare(fixture.ctx, [], bind(folder()), {});
    const as = (mediaType: string) => differ.apply(fixture.ctx, { ...layer, mediaType }, bind(folder()), {});
    const fails = (code: 'Unimplemented' | 'NotFound') => (error: unknown) => hasCode(error, code);
    await assert.rejects(as('application/vnd.oci.image.config.v1+json'), fails('Unimplemented'));
    await as('application/vnd.docker.image.rootfs.diff.tar.gzip');
    await as('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip');
    const missing = { ...layer, digest: parseDigest(`sha256:${'0'.repeat(64)}`) };
    await assert.rejects(differ.apply(fixture.ctx, missing, bind(folder()), {}), fails('NotFound'));
    const compared = differ.compare(fixture.ctx, [], bind(folder()), { mediaType: 'text/plain' });
    await assert.rejects(compared, fails('Unimplemented'));
  });

  it('notices a blob that rotted on disk', async () => {
    const b = folder();
    writeFileSync(join(b, 'file'), 'x'.repeat(5000));
    const layer = await differ.compare(fixture.ctx, [], bind(b), { mediaType: ociLayer });
    const path = join(fixture.directory, 'content', 'blobs', 'sha256', layer.digest.slice(7));
    const bytes = await blob(layer.digest);
    bytes[1000]! ^= 1;
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    await assert.rejects(differ.apply(fixture.ctx, layer, bind(folder()), {}), (error) =>
      hasCode(error, 'DataLoss'),
    );
  });

  it('leaves no ingest of a comparison that failed', async () => {
    const gone = join(scratch, 'not-there');
    await assert.rejects(differ.compare(fixture.ctx, [], bind(gone), {}));
    assert.deepEqual(await fixture.store.content.listStatuses(fixture.ctx, []), []);
    const ref = parseIngestRef('mine');
    await differ.compare(fixture.ctx, [], bind(folder()), { ref });
  });
});
