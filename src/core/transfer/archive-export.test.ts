/** What stands in an exported archive, entry by entry: containerd 2.1's own words are the measure. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digestHex } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseImageName } from '../../base/identifiers.ts';
import { hostPlatform, type Platform } from '../../oci/platform.ts';
import { type BuiltImage, buildImage, publish } from '../../testing/registry/image-builder.ts';
import type { TarEntry } from '../diff/tar-entry.ts';
import { archiveSteps } from './archive-entries.ts';
import { TransferFixture } from './transfer.fixture.ts';
import type { ArchiveDestination } from './transfer-archive.ts';

const foreign: Platform = { os: 'linux', architecture: 'riscv64' };

interface Exported {
  readonly entries: readonly TarEntry[];
  /** Members of index.json and manifest.json that are of interest. */
  readonly index: readonly { annotations: Record<string, string> }[];
  readonly docker: readonly { Config: string; RepoTags: readonly string[] }[];
}

async function exported(
  fixture: TransferFixture,
  names: readonly string[],
  options: Partial<ArchiveDestination> = {},
): Promise<Exported> {
  const entries: TarEntry[] = [];
  const documents = new Map<string, string>();
  const write = async (bytes: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const step of archiveSteps(bytes))
      if (step.kind === 'entry') entries.push(step.entry);
      else if (step.kind === 'data') {
        const path = entries.at(-1)!.path;
        documents.set(path, `${documents.get(path) ?? ''}${Buffer.from(step.bytes).toString('latin1')}`);
      }
  };
  const rule = { isPrefix: false, allowOverwrite: false, addDigest: false, skipNamedDigest: false };
  await fixture.transfers.exporter.export(
    fixture.ctx,
    { name: '', extraReferences: names.map((name) => ({ ...rule, name })) },
    {
      write,
      platforms: [],
      allPlatforms: false,
      skipCompatibilityManifest: false,
      skipNonDistributable: false,
      ...options,
    },
    () => {},
  );
  const parse = (path: string, absent: string): unknown => JSON.parse(documents.get(path) ?? absent);
  return {
    entries,
    index: (parse('index.json', '{}') as { manifests: Exported['index'] }).manifests,
    docker: parse('manifest.json', '[]') as Exported['docker'],
  };
}

async function pulled(images: BuiltImage | readonly BuiltImage[]): Promise<TransferFixture> {
  const fixture = await TransferFixture.make();
  publish(fixture.remote.storage, 'sample', 'latest', images);
  await fixture.pull({ platforms: [], unpacks: [] });
  return fixture;
}

const blobs = ({ entries }: Exported): string[] =>
  entries.map(({ path }) => path).filter((path) => path.startsWith('blobs/sha256/') && !path.endsWith('/'));
const blobOf = ({ digest }: { digest: BuiltImage['descriptor']['digest'] }): string =>
  `blobs/sha256/${digestHex(digest)}`;

void describe('an exported archive', () => {
  const host = buildImage([{ a: 'host' }], { platform: hostPlatform() });
  const other = buildImage([{ a: 'other' }], { platform: foreign });
  const digest = host.descriptor.digest;

  void it('has its entries by name, without times, readable and no more', async () => {
    await using fixture = await pulled(host);
    const { entries } = await exported(fixture, [fixture.reference()]);
    const paths = entries.map(({ path }) => path);
    assert.deepEqual(paths, paths.toSorted());
    assert.deepEqual(
      paths.filter((path) => path.endsWith('/') || !path.includes('/')),
      ['blobs/', 'blobs/sha256/', 'index.json', 'manifest.json', 'oci-layout'],
    );
    for (const { path, mode, uid, gid, modifiedAt } of entries) {
      const isMutable = path === 'index.json' || path === 'manifest.json';
      const expected = path.endsWith('/') ? 0o755 : isMutable ? 0o644 : 0o444;
      assert.deepEqual([path, mode, uid, gid, modifiedAt], [path, expected, 0, 0, 0n]);
    }
  });

  const names: [name: string, reference: string, repoTags: string[]][] = [
    ['docker.io/library/foo:1', '1', ['foo:1']],
    ['docker.io/library/foo', '', ['foo:latest']],
    [`docker.io/library/foo@${digest}`, `@${digest}`, [`foo@${digest}`]],
    [`docker.io/library/foo:1@${digest}`, `1@${digest}`, [`foo:1@${digest}`]],
    ['localhost:5000/x:2', '2', ['localhost:5000/x:2']],
    ['foo', '', ['foo:latest']],
    ['ix:1', '', ['ix:1']],
    ['import-2026-11-24:a', 'import-2026-11-24:a', ['import-2026-11-24:a']],
    ['No Docker name/x', '', []],
  ];
  for (const [name, reference, repoTags] of names)
    void it(`names ${JSON.stringify(name)} as containerd does`, async () => {
      await using fixture = await pulled(host);
      const { store, ctx } = fixture;
      const { target } = await store.images.get(ctx, parseImageName(fixture.reference()));
      const annotations = { zz: 'kept', 'org.opencontainers.image.ref.name': 'of the image it came from' };
      await store.images.create(ctx, {
        name: parseImageName(name),
        target: { ...target, annotations },
        labels: {},
      });
      const archive = await exported(fixture, [name]);
      assert.deepEqual(Object.entries(archive.index[0]!.annotations), [
        ['io.containerd.image.name', name],
        ['org.opencontainers.image.ref.name', reference],
        ['zz', 'kept'],
      ]);
      assert.deepEqual(archive.docker[0]?.RepoTags, repoTags);
    });

  void it('tells docker one image with all names that stand for it', async () => {
    await using fixture = await pulled([other, host]);
    await fixture.pull({ name: 'docker.io/library/again:1', platforms: [], unpacks: [] });
    const { docker } = await exported(fixture, [fixture.reference(), 'docker.io/library/again:1'], {
      allPlatforms: true,
    });
    assert.equal(docker.length, 1);
    assert.equal(docker[0]?.Config, blobOf(host.configDescriptor));
    assert.deepEqual(docker[0]?.RepoTags, [fixture.reference(), 'again:1']);
  });

  void it('holds the platforms that are asked for', async () => {
    await using fixture = await pulled([other, host]);
    const one = await exported(fixture, [fixture.reference()], { platforms: [foreign] });
    assert.ok(blobs(one).includes(blobOf(other.descriptor)));
    assert.ok(!blobs(one).includes(blobOf(host.descriptor)));
    const own = await exported(fixture, [fixture.reference()]);
    assert.ok(blobs(own).includes(blobOf(host.descriptor)));
    assert.ok(!blobs(own).includes(blobOf(other.descriptor)));
    await assert.rejects(
      exported(fixture, [fixture.reference()], { platforms: [{ os: 'linux', architecture: 's390x' }] }),
      (error) => hasCode(error, 'NotFound') && /linux\/s390x/.test((error as Error).message),
    );
  });

  void it('of all platforms holds those that are here as a whole', async () => {
    await using fixture = await pulled([other, host]);
    const { store, ctx } = fixture;
    const all = await exported(fixture, [fixture.reference()], { allPlatforms: true });
    assert.equal(blobs(all).length, 7);
    await store.content.delete(ctx, other.layers[0]!.descriptor.digest);
    const whole = await exported(fixture, [fixture.reference()], { allPlatforms: true });
    assert.deepEqual(
      blobs(whole).filter((path) => [other.descriptor, other.configDescriptor].map(blobOf).includes(path)),
      [],
    );
    assert.equal(blobs(whole).length, 4);
    await store.content.delete(ctx, host.configDescriptor.digest);
    await assert.rejects(exported(fixture, [fixture.reference()], { allPlatforms: true }), (error) =>
      hasCode(error, 'NotFound'),
    );
  });
});
