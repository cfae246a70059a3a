/** A daemon with pods: an image from Debian's registry for them and for their containers, and a bridge when wanted. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { mountsBelow } from '../../src/testing/held.ts';
import { NamespaceMode } from '../../src/wire/gen/runtime/v1/common_pb.js';
import type { ContainerConfigSchema } from '../../src/wire/gen/runtime/v1/container_pb.js';
import { ImageService } from '../../src/wire/gen/runtime/v1/image_pb.js';
import { RuntimeService } from '../../src/wire/gen/runtime/v1/runtime_pb.js';
import type { PodSandboxConfigSchema } from '../../src/wire/gen/runtime/v1/sandbox_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import type { Client, Connection } from '../../src/wire/service.ts';
import { type Daemon, startGantry } from './daemon.ts';
import { type Registry, startRegistry } from './registry.ts';
import { run } from './run.ts';

type Words<Init> = Exclude<Init, { readonly $typeName: string }>;
type PodWords = Words<MessageInitShape<typeof PodSandboxConfigSchema>>;
type ContainerWords = Words<MessageInitShape<typeof ContainerConfigSchema>>;

export interface CriLabOptions {
  /** Name of a bridge for the pods; without one they are in the host's network. */
  readonly bridge?: string;
}

export class CriLab implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly image: string;
  readonly #dir: string;
  readonly #registry: Registry;
  readonly #bridge: string | undefined;
  #connection: Connection;
  #imageId = '';

  private constructor(parts: { daemon: Daemon; registry: Registry; dir: string }, { bridge }: CriLabOptions) {
    this.daemon = parts.daemon;
    this.#registry = parts.registry;
    this.#dir = parts.dir;
    this.#bridge = bridge;
    this.image = parts.registry.reference('busybox');
    this.#connection = connectGrpc(parts.daemon.address);
  }

  static async start(options: CriLabOptions = {}): Promise<CriLab> {
    const dir = await mkdtemp(join(tmpdir(), 'gantry-cri-lab-'));
    await mkdir(join(dir, 'net.d'));
    if (options.bridge !== undefined)
      await writeFile(join(dir, 'net.d/10-net.conflist'), JSON.stringify(bridgeOf(options.bridge, dir)));
    await writeFile(join(dir, 'template'), template);
    const registry = await startRegistry(['busybox']);
    const pause = `${registry.host}/pods/pause:1`;
    await makePause(dir, { from: registry.reference('busybox'), to: pause });
    const daemon = await startGantry({
      config: `[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "${pause}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = "${dir}/net.d"
conf_template = "${dir}/template"
`,
    });
    const lab = new CriLab({ daemon, registry, dir }, options);
    const images = lab.#connection.client(ImageService);
    const { imageRef } = await images.pullImage({ image: { image: lab.image } });
    lab.#imageId = imageRef;
    return lab;
  }

  get runtime(): Client<typeof RuntimeService> {
    return this.#connection.client(RuntimeService);
  }

  get imageId(): string {
    return this.#imageId;
  }

  /** Kills the daemon and starts it again; `meanwhile` runs while there is none. */
  async restart(meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    await this.daemon.kill();
    await meanwhile();
    await this.daemon.start();
    await this.#connection[Symbol.asyncDispose]();
    this.#connection = connectGrpc(this.daemon.address);
  }

  /** Plugins of pods fail until the result is called: the directory of addresses cannot be used. */
  async breakNetwork(): Promise<() => Promise<void>> {
    const [from, aside] = [join(this.#dir, 'ipam'), join(this.#dir, 'ipam.aside')];
    await rename(from, aside);
    await writeFile(from, '');
    return async () => {
      await rm(from);
      await rename(aside, from);
    };
  }

  async runPod(name: string, more: PodWords = {}, runtimeHandler = ''): Promise<string> {
    const network = this.#bridge === undefined ? NamespaceMode.NODE : NamespaceMode.POD;
    const { podSandboxId } = await this.runtime.runPodSandbox({
      config: {
        metadata: { name, namespace: 'tests', uid: `uid-${name}` },
        labels: { app: name },
        hostname: `host-${name}`,
        dnsConfig: { servers: ['10.9.8.7'] },
        linux: { securityContext: { namespaceOptions: { network } } },
        ...more,
      },
      runtimeHandler,
    });
    return podSandboxId;
  }

  async create(
    podSandboxId: string,
    name: string,
    command: string[],
    more: ContainerWords = {},
  ): Promise<string> {
    const { containerId } = await this.runtime.createContainer({
      podSandboxId,
      config: { metadata: { name }, image: { image: this.image }, command, ...more },
    });
    return containerId;
  }

  /** Of all pods: tasks, records, snapshots that are written to, leases, mounts and directories. */
  async assertNothingLeft(): Promise<void> {
    const { daemon } = this;
    const lines = async (...args: string[]): Promise<string[]> =>
      (await daemon.ctr('-n', 'k8s.io', ...args)).trim().split('\n').slice(1);
    const below = (...names: string[]): string[] => {
      const [first = '', ...rest] = names;
      try {
        return readdirSync(join(first, ...rest));
      } catch {
        return [];
      }
    };
    const cri = 'io.containerd.grpc.v1.cri';
    assert.deepEqual(
      {
        tasks: await lines('tasks', 'ls'),
        containers: await lines('containers', 'ls'),
        active: (await lines('snapshots', 'ls')).filter((line) => line.includes('Active')),
        leases: await lines('leases', 'ls'),
        mounts: mountsBelow(daemon.state),
        pods: below(daemon.root, cri, 'sandboxes'),
        files: below(daemon.root, cri, 'containers'),
        networks: below(daemon.root, cri, 'networks'),
        execs: below(daemon.state, cri, 'exec'),
      },
      {
        tasks: [],
        containers: [],
        active: [],
        leases: [],
        mounts: [],
        pods: [],
        files: [],
        networks: [],
        execs: [],
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
    await this.daemon[Symbol.asyncDispose]();
    await this.#registry[Symbol.asyncDispose]();
    if (this.#bridge !== undefined) await run('ip', ['link', 'delete', this.#bridge]).catch(() => {});
    await rm(this.#dir, { recursive: true, force: true });
  }
}

const template = JSON.stringify({
  cniVersion: '1.0.0',
  name: 'templated',
  plugins: [{ type: 'bridge', ipam: { type: 'host-local', subnet: '{{.PodCIDR}}' } }],
});

const bridgeOf = (bridge: string, dir: string): object => ({
  cniVersion: '1.0.0',
  name: 'lab',
  plugins: [
    {
      type: 'bridge',
      bridge,
      isGateway: true,
      ipam: { type: 'host-local', subnet: '10.251.7.0/24', dataDir: join(dir, 'ipam') },
    },
  ],
});

/** An image that only waits: no pause image can be had without the internet. */
async function makePause(dir: string, { from, to }: { from: string; to: string }): Promise<void> {
  const layout = join(dir, 'pause');
  await run('skopeo', ['copy', '--quiet', '--src-tls-verify=false', `docker://${from}`, `oci:${layout}:1`]);
  await run('umoci', [
    'config',
    '--image',
    `${layout}:1`,
    '--clear=config.cmd',
    '--config.entrypoint',
    '/bin/sleep',
    '--config.entrypoint',
    '2147483647',
  ]);
  await run('skopeo', ['copy', '--quiet', '--dest-tls-verify=false', `oci:${layout}:1`, `docker://${to}`]);
}
