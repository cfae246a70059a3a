/**
 * The CRI as the kubelet meets it, on the daemon's own socket, over Debian's registry; and the same calls on a real
 * containerd beside it, whose answers count. Where ours differs, the reason stands with the call.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import { buildImage, publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { until } from '../../src/testing/until.ts';
import { ImageService } from '../../src/wire/gen/runtime/v1/image_pb.js';
import { RuntimeService } from '../../src/wire/gen/runtime/v1/runtime_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import type { Client, Connection } from '../../src/wire/service.ts';
import { type Api, type ApiCall, call, compareCalls } from '../differential/api/api-harness.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { run } from '../support/run.ts';

const images = (api: Api) => api.outside.client(ImageService);
const runtime = (api: Api) => api.outside.client(RuntimeService);
const classLost = 'the peer loses the class of the error; the words are ours';

/** What both registries offer; the last one is that which pods are made with. */
interface Names {
  readonly app: string;
  readonly twin: string;
  readonly absent: string;
  readonly pause: string;
  /** Of several platforms. */
  readonly many: string;
}

const sorted = async (api: Api): Promise<unknown> => {
  const { images: listed } = await images(api).listImages({});
  return listed.toSorted((a, b) => (a.id < b.id ? -1 : 1));
};
const idOf = async (api: Api, image: string): Promise<string | undefined> =>
  (await images(api).imageStatus({ image: { image } })).image?.id;
const pull = (api: Api, image: string) => images(api).pullImage({ image: { image } });
const ctr = (api: Api, ...args: string[]) => api.daemon.ctr('-n', 'k8s.io', ...args);
/** Names and labels as other clients see them, when there are so many names. */
async function stored(api: Api, count: number): Promise<string[]> {
  let rows: string[] = [];
  await until(`there are ${count} names`, async () => {
    const lines = (await ctr(api, 'images', 'ls')).trim().split('\n').slice(1);
    rows = lines.map((line) => {
      const [name = '', , digest = ''] = line.split(/\s+/);
      return `${name} ${digest} ${line.includes('io.cri-containerd.image=managed') ? 'managed' : 'not managed'}`;
    });
    return rows.length === count && rows.every((row) => !row.includes('not managed'));
  });
  return rows.toSorted();
}

const imageCalls = ({ app, twin, absent, pause, many }: Names): readonly ApiCall[] => [
  call('an empty list', sorted),
  call('status without an image', (api) => images(api).imageStatus({})),
  call('status of an empty name', (api) => images(api).imageStatus({ image: { image: '' } })),
  call('status of what is not there', (api) => images(api).imageStatus({ image: { image: app } })),
  call('status of what is no name', (api) => images(api).imageStatus({ image: { image: 'a/UPPER:::' } })),
  call('removal without an image', (api) => images(api).removeImage({})),
  call('removal of an empty name', (api) => images(api).removeImage({ image: { image: '' } })),
  call('removal of what is not there', (api) => images(api).removeImage({ image: { image: app } })),
  call('removal of what is no name', (api) => images(api).removeImage({ image: { image: 'a/UPPER:::' } })),
  call('pull of what is no name', (api) => pull(api, 'a/UPPER:::'), { differs: classLost }),
  call('pull of an empty name', (api) => pull(api, ''), { differs: classLost }),
  call('pull of what is not there', (api) => pull(api, absent)),
  call('pull', (api) => pull(api, app)),
  call('pull once more', (api) => pull(api, app)),
  call('list', sorted),
  call('names for other clients', (api) => stored(api, 3)),
  call('status', (api) => images(api).imageStatus({ image: { image: app } })),
  call('verbose status', async (api) => {
    const { image, info } = await images(api).imageStatus({ image: { image: app }, verbose: true });
    return [image, Object.keys(info), JSON.parse(info['info'] ?? '')];
  }),
  call('status by id and by its parts', async (api) => {
    const id = (await idOf(api, app)) ?? '';
    const hex = id.slice('sha256:'.length);
    return Promise.all(
      [id, hex, hex.slice(0, 8), `sha256:${hex.slice(0, 8)}`].map((each) => idOf(api, each)),
    );
  }),
  call('status by digest', async (api) => {
    const { image } = await images(api).imageStatus({ image: { image: app } });
    const byDigest = image?.repoDigests[0] ?? '';
    const both = `${app}@${byDigest.split('@')[1]}`;
    return [byDigest, await idOf(api, byDigest), await idOf(api, both)];
  }),
  call(
    'a filter',
    async (api) => (await images(api).listImages({ filter: { image: { image: absent } } })).images,
    {
      differs: 'the peer does not look at the filter',
    },
  ),
  call('pull of the image of pods, under another name the same', (api) => pull(api, pause)),
  call('pinned', sorted),
  call('pull of the same by another repository', (api) => pull(api, twin)),
  call('both repositories', sorted),
  call('pull by digest', async (api) => {
    const { image } = await images(api).imageStatus({ image: { image: app } });
    return pull(api, image?.repoDigests[0] ?? '');
  }),
  call('credentials that nobody asks for', async (api) =>
    images(api).pullImage({ image: { image: app }, auth: { auth: 'no base64' } }),
  ),
  call('pull of an image of several platforms', (api) => pull(api, many)),
  call('its size and names', (api) => images(api).imageStatus({ image: { image: many } })),
  call('removal by name takes all names', (api) => images(api).removeImage({ image: { image: app } })),
  call('the other image is left', sorted),
  call('removal by id', async (api) =>
    images(api).removeImage({ image: { image: (await idOf(api, many)) ?? '' } }),
  ),
  call('nothing is left', (api) => stored(api, 0)),
  call('an image that ctr has pulled', async (api) => {
    await ctr(api, 'images', 'pull', '--plain-http', app);
    return stored(api, 2);
  }),
  call('it is an image like others', sorted),
  call('a tag by ctr', async (api) => {
    await ctr(api, 'images', 'tag', app, 'docker.io/library/short:1');
    await stored(api, 3);
    return [await idOf(api, 'short:1'), await sorted(api)];
  }),
  call('a name that ctr has removed', async (api) => {
    await ctr(api, 'images', 'rm', 'docker.io/library/short:1');
    await until('the name has gone', async () => (await idOf(api, 'short:1')) === undefined);
    return sorted(api);
  }),
  call('removal of the image of ctr', (api) => images(api).removeImage({ image: { image: app } })),
  call('nothing is left of it', (api) => stored(api, 0)),
  call('streamed', (api) => Array.fromAsync(images(api).streamImages({})), {
    differs: 'the peer is too old for it',
  }),
];

const runtimeCalls: readonly ApiCall[] = [
  call('version', async (api) => {
    const { runtimeVersion, ...rest } = await runtime(api).version({});
    return [rest, runtimeVersion !== ''];
  }),
  call('status', async (api) => (await runtime(api).status({})).status),
  call('handlers', async (api) => (await runtime(api).status({})).runtimeHandlers),
  call('info only when asked for', async (api) => (await runtime(api).status({})).info),
  call('verbose status', async (api) => {
    const { info } = await runtime(api).status({ verbose: true });
    const config = JSON.parse(info['config'] ?? '') as {
      containerd: { defaultRuntimeName: string; runtimes: Record<string, { runtimeType: string }> };
      cni: { binDirs: unknown; maxConfNum: unknown };
      rootDir: unknown;
    };
    const { PluginConfDir: _, ...cni } = JSON.parse(info['cniconfig'] ?? '') as Record<string, unknown>;
    return [
      Object.keys(info)
        .filter((key) => key !== 'golang')
        .toSorted(),
      config.containerd.defaultRuntimeName,
      Object.entries(config.containerd.runtimes).map(([name, { runtimeType }]) => [name, runtimeType]),
      config.rootDir,
      [config.cni.binDirs, config.cni.maxConfNum],
      Object.keys(cni),
    ];
  }),
  call('runtime config', (api) => runtime(api).runtimeConfig({})),
];

void describe('the CRI: images', { concurrency: 1 }, () => {
  let dir: string;
  let registry: Registry;
  let other: TestRegistry;
  let ours: Daemon;
  let peer: Daemon;
  let connection: Connection;
  let client: Client<typeof ImageService>;
  let names: Names;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-cri-'));
    for (const name of ['ours', 'peer']) await mkdir(join(dir, name));
    registry = await startRegistry(['busybox']);
    other = await TestRegistry.start();
    const image = (architecture: string) =>
      buildImage([{ for: architecture }], {
        platform: { os: 'linux', architecture },
        run: { User: '1000:7' },
      });
    publish(other.storage, 'many', 'v1', [image('s390x'), image(hostPlatform().architecture)]);
    const app = registry.reference('busybox');
    names = {
      app,
      twin: `${registry.host}/twin/busybox:v2`,
      absent: `${registry.host}/no/such:latest`,
      pause: `${registry.host}/pods/pause:1`,
      many: `${other.host}/many:v1`,
    };
    for (const copy of [names.twin, names.pause])
      await run('skopeo', [
        'copy',
        '--quiet',
        '--src-tls-verify=false',
        '--dest-tls-verify=false',
        `docker://${app}`,
        `docker://${copy}`,
      ]);
    ours = await startGantry({
      config: `[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "${names.pause}"
[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = "${dir}/ours"
`,
    });
    peer = await startPeer({
      cri: true,
      config: `[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${names.pause}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "${dir}/peer"
`,
    });
    connection = connectGrpc(ours.address);
    client = connection.client(ImageService);
  });
  after(async () => {
    await connection?.[Symbol.asyncDispose]();
    await ours?.[Symbol.asyncDispose]();
    await peer?.[Symbol.asyncDispose]();
    await other?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const compare = async (calls: readonly ApiCall[]): Promise<void> => {
    const differences = await compareCalls({ ours, peer }, 'k8s.io', calls);
    assert.equal(differences.length, 0, differences.join('\n'));
  };

  void it('every call on images answers as containerd does', () => compare(imageCalls(names)));

  void it('the runtime tells of itself as containerd does', () => compare(runtimeCalls));

  void it('a network configuration makes the network ready, as with containerd', async () => {
    const network = { cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }] };
    for (const name of ['ours', 'peer'])
      await writeFile(join(dir, name, '10-net.conflist'), JSON.stringify(network));
    const ready = (api: Api) =>
      until('the network is ready', async () => {
        const { status } = await runtime(api).status({});
        return status?.conditions.find(({ type }) => type === 'NetworkReady')?.status === true;
      });
    await compare([
      call('the network gets ready', ready),
      call('status', async (api) => (await runtime(api).status({})).status),
      call('how loading went', async (api) => {
        const { info } = await runtime(api).status({ verbose: true });
        return [info['lastCNILoadStatus'], info['lastCNILoadStatus.default']];
      }),
    ]);
  });

  void it('file systems: the layers of an image count, and are free when its removal is answered', async () => {
    const used = async (): Promise<bigint> => {
      const { imageFilesystems, containerFilesystems } = await client.imageFsInfo({});
      assert.equal(containerFilesystems[0]?.fsId?.mountpoint, imageFilesystems[0]?.fsId?.mountpoint);
      assert.equal(
        imageFilesystems[0]?.fsId?.mountpoint,
        join(ours.root, 'io.containerd.snapshotter.v1.overlayfs'),
      );
      return imageFilesystems[0]?.usedBytes?.value ?? -1n;
    };
    assert.equal(await used(), 0n);
    await client.pullImage({ image: { image: names.app } });
    assert.ok((await used()) > 1_000_000n);
    await client.removeImage({ image: { image: names.app } });
    assert.equal(await used(), 0n);
    assert.equal((await ours.ctr('-n', 'k8s.io', 'content', 'ls', '-q')).trim(), '');
  });

  void it('images outlive the daemon, also when it is killed', async () => {
    const { imageRef } = await client.pullImage({ image: { image: names.app } });
    await ours.kill();
    await ours.start();
    await using again = connectGrpc(ours.address);
    const { image } = await again
      .client(ImageService)
      .imageStatus({ image: { image: names.app, annotations: {} } });
    assert.equal(image?.id, imageRef);
  });
});

void describe('the CRI: settings', () => {
  void it('a snapshotter that is not there stops the CRI and nothing else, and says so', async () => {
    await using daemon = await startGantry({
      config: '[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "zfs"\n',
    });
    await using connection = connectGrpc(daemon.address);
    await assert.rejects(connection.client(ImageService).listImages({}), (error) =>
      hasCode(error, 'Unimplemented'),
    );
    assert.match(await readFile(join(daemon.root, '../log'), 'utf8'), /snapshotter .*zfs.* not loaded/);
  });

  void it('hosts are looked up where registry.config_path says', async () => {
    await using registry = await startRegistry(['busybox']);
    const roots = await mkdtemp(join(tmpdir(), 'gantry-cri-hosts-'));
    try {
      await mkdir(join(roots, 'nowhere.invalid'));
      await writeFile(join(roots, 'nowhere.invalid/hosts.toml'), `server = "http://${registry.host}"\n`);
      const config = `[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "${roots}"\n`;
      await using daemon = await startGantry({ config });
      await using connection = connectGrpc(daemon.address);
      const image = 'nowhere.invalid/sample/busybox:latest';
      await connection.client(ImageService).pullImage({ image: { image } });
      const { images: listed } = await connection.client(ImageService).listImages({});
      assert.deepEqual(
        listed.map(({ repoTags }) => repoTags),
        [[image]],
      );
    } finally {
      await rm(roots, { recursive: true, force: true });
    }
  });

  void it('each handler has its own snapshotter and cgroup driver', async () => {
    await using registry = await startRegistry(['busybox']);
    await using daemon = await startGantry({
      config: `[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "plain"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.plain]
runtime_type = "io.containerd.runc.v2"
snapshotter = "native"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.plain.options]
SystemdCgroup = true
`,
    });
    await using connection = connectGrpc(daemon.address);
    const { runtimeHandlers } = await connection.client(RuntimeService).status({});
    assert.deepEqual(
      runtimeHandlers.map(({ name }) => name),
      ['', 'plain', 'runc'],
    );
    const { linux } = await connection.client(RuntimeService).runtimeConfig({});
    assert.equal(linux?.cgroupDriver, 0);
    const client = connection.client(ImageService);
    const image = registry.reference('busybox');
    const count = async (snapshotter: string): Promise<number> =>
      (await daemon.ctr('-n', 'k8s.io', 'snapshots', '--snapshotter', snapshotter, 'ls')).trim().split('\n')
        .length - 1;
    const counts = async () => [await count('overlayfs'), await count('native')];
    await client.pullImage({ image: { image, runtimeHandler: 'runc' } });
    assert.deepEqual(await counts(), [1, 0]);
    // As kubelets said it before ImageSpec had a place for it.
    const annotations = { 'io.containerd.cri.runtime-handler': 'plain' };
    await client.pullImage({ image: { image }, sandboxConfig: { annotations } });
    assert.deepEqual(await counts(), [1, 1]);
    await client.removeImage({ image: { image } });
    assert.deepEqual(await counts(), [0, 0]);
    await client.pullImage({ image: { image } });
    assert.deepEqual(await counts(), [0, 1]);
    const { imageFilesystems } = await client.imageFsInfo({});
    assert.deepEqual(
      imageFilesystems.map(({ fsId }) => fsId?.mountpoint.split('.').at(-1)),
      ['native', 'overlayfs'],
    );
  });
});
