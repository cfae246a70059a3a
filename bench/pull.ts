/**
 * Pulls of the shapes that images have, against the peer and against what this machine needs for inflating the layers
 * and making their files alone (the floor). Before each pull the image is removed and collected and the page cache
 * dropped.
 *
 * On ext4 that means what it means on a machine where images come and go: the inodes of the pull before were freed a
 * moment ago, and files in their place are made at a tenth of the speed (docs/decisions/0110). The floor is measured
 * in another part of the file system.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostPlatform } from '../src/oci/platform.ts';
import {
  type BuiltImage,
  buildImage,
  buildLayer,
  type FileTree,
  type TreeNode,
} from '../src/testing/registry/image-builder.ts';
import type { Daemon } from '../test/support/daemon.ts';
import type { Registry } from '../test/support/registry.ts';
import { attempt, run } from '../test/support/run.ts';
import { type Paired, takeTurns, time } from './compare.ts';

const rounds = 5;
const target = { kind: 'ratio', atMost: 0.5 } as const;

interface Shape {
  /** What it is called on the command line. */
  readonly name: string;
  readonly title: string;
  readonly images: (registry: Registry) => Promise<readonly string[]>;
  readonly flags?: readonly string[];
}

/** Like a file of an image: half of it compresses away. */
function content(sizeBytes: number): Buffer {
  const noise = randomBytes(Math.ceil(sizeBytes / 4)).toString('hex');
  return Buffer.from(noise.padEnd(sizeBytes, 'the quick brown fox ').slice(0, sizeBytes));
}

function tree(files: number, fileBytes: number, prefix = 'd'): FileTree {
  const entries: Record<string, TreeNode> = {};
  for (let index = 0; index < files; index += 1) {
    const directory = `${prefix}${Math.floor(index / 100)}`;
    entries[`${directory}/`] = {};
    entries[`${directory}/f${index}`] = content(fileBytes);
  }
  return entries;
}

const built = (layers: readonly FileTree[], compression: 'gzip' | 'zstd' = 'gzip'): BuiltImage =>
  buildImage(
    layers.map((each) => buildLayer(each, { compression })),
    { platform: hostPlatform() },
  );

/** As the distribution API has it: blobs by an upload in one piece, then the manifest. */
async function push(registry: Registry, name: string, image: BuiltImage): Promise<string> {
  const base = `http://${registry.host}/v2/bench/${name}`;
  const blobs = [image.config, ...image.layers.map(({ bytes }) => bytes)];
  for (const bytes of blobs) {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const { headers } = await sent(`${base}/blobs/uploads/`, { method: 'POST' });
    const location = new URL(headers.get('location') ?? '', base);
    location.searchParams.set('digest', digest);
    await sent(location.href, { method: 'PUT', body: new Uint8Array(bytes) });
  }
  const headers = { 'content-type': image.descriptor.mediaType };
  await sent(`${base}/manifests/latest`, { method: 'PUT', body: new Uint8Array(image.manifest), headers });
  return `${registry.host}/bench/${name}:latest`;
}

async function sent(url: string, request: RequestInit): Promise<Response> {
  const response = await fetch(url, request);
  if (!response.ok) throw new Error(`${request.method} ${url}: ${response.status}`);
  return response;
}

const own =
  (name: string, make: () => BuiltImage) =>
  async (registry: Registry): Promise<readonly string[]> => [await push(registry, name, make())];

const megabyte = 1024 * 1024;

const shapes: readonly Shape[] = [
  { name: 'pull', title: '6 layers, 75 MB', images: async (registry) => [registry.reference('debian')] },
  {
    name: 'pull-local',
    title: '6 layers, 75 MB, by the client (--local)',
    images: async (registry) => [registry.reference('debian')],
    flags: ['--local'],
  },
  {
    name: 'pull-large',
    title: 'one layer of 250 MB',
    images: own('large', () => built([tree(500, megabyte)])),
  },
  {
    name: 'pull-layers',
    title: '20 small layers',
    images: own('layers', () =>
      built(Array.from({ length: 20 }, (_, index) => tree(40, 8192, `layer${index}-`))),
    ),
  },
  {
    name: 'pull-files',
    title: '40,000 small files',
    images: own('files', () => built([tree(40_000, 1024)])),
  },
  {
    name: 'pull-zstd',
    title: '4 zstd layers, 60 MB',
    images: own('zstd', () =>
      built(
        Array.from({ length: 4 }, (_, index) => tree(300, 100_000, `zstd${index}-`)),
        'zstd',
      ),
    ),
  },
  {
    name: 'pull-many',
    title: '5 images at once',
    images: async (registry) => {
      const references: string[] = [];
      for (let index = 0; index < 5; index += 1)
        references.push(await push(registry, `many${index}`, built([tree(400, 20_000, `image${index}-`)])));
      return references;
    },
  },
];

async function pullAll(
  daemon: Daemon,
  references: readonly string[],
  flags: readonly string[],
): Promise<number> {
  for (const reference of references) await daemon.ctr.attempt(['images', 'rm', '--sync', reference]);
  await run('sync', []);
  await writeFile('/proc/sys/vm/drop_caches', '3');
  return time(() =>
    Promise.all(
      references.map((reference) => daemon.ctr('images', 'pull', '--plain-http', ...flags, reference)),
    ),
  );
}

/** Milliseconds that gzip or zstd and tar take for the layers, one after the other, in a fresh directory. */
async function floorOf(references: readonly string[]): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-bench-'));
  const copy = join(directory, 'image');
  try {
    const layers: string[] = [];
    for (const [index, reference] of references.entries()) {
      const to = `${copy}${index}`;
      await run('skopeo', [
        'copy',
        '--quiet',
        '--src-tls-verify=false',
        `docker://${reference}`,
        `dir:${to}`,
      ]);
      const manifest = JSON.parse(await readFile(join(to, 'manifest.json'), 'utf8')) as {
        layers: { digest: string }[];
      };
      layers.push(...manifest.layers.map(({ digest }) => join(to, digest.replace('sha256:', ''))));
    }
    await attempt('chattr', ['+T', directory]);
    const root = join(directory, 'root');
    await run('mkdir', [root]);
    return await time(async () => {
      for (const [index, layer] of layers.entries()) {
        const to = join(root, `${index}`);
        await run('mkdir', [to]);
        await run('tar', ['-xf', layer, '-C', to]);
      }
    });
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function pulled(
  { title, images, flags = [] }: Shape,
  ours: Daemon,
  peer: Daemon,
  registry: Registry,
): Promise<Paired[]> {
  const references = await images(registry);
  const floorMs = await floorOf(references);
  const result = await takeTurns(
    `pull and unpack, ${title} (tar alone takes ${floorMs.toFixed(0)} ms)`,
    rounds,
    () => pullAll(ours, references, flags),
    () => pullAll(peer, references, flags),
    { target },
  );
  return [result];
}

export type PullSuite = (ours: Daemon, peer: Daemon, registry: Registry) => Promise<Paired[]>;

/** Each shape by its name. */
export const pullSuites: ReadonlyMap<string, PullSuite> = new Map(
  shapes.map((shape) => [shape.name, (ours, peer, registry) => pulled(shape, ours, peer, registry)]),
);
