/** A pod network in a folder of its own, for tests: plugins are programs that the test puts into `bin`. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { background, type Context } from '../../base/context.ts';
import { parseSandboxId, type SandboxId } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import type { Platform } from '../../platform/platform.ts';
import { AttachmentStore } from './attachment-store.ts';
import { CniClient } from './cni-client.ts';
import { CniPlugins } from './cni-plugin.ts';
import { NetworkDirectory } from './network-directory.ts';
import { PodNamespaces } from './pod-namespaces.ts';
import { PodNetwork, type PodNetworkOptions, type PodToConnect } from './pod-network.ts';

export const real = '/usr/lib/cni';

export interface NetworkWorldOptions extends Partial<PodNetworkOptions> {
  readonly timeoutMs?: number;
}

export class NetworkWorld implements Disposable {
  readonly ctx: Context = background(silentLogger);
  readonly folder: string;
  readonly platform: Platform;
  readonly pods: PodNamespaces;
  readonly attachments: AttachmentStore;
  readonly plugins: CniPlugins;
  readonly directory: NetworkDirectory;
  readonly network: PodNetwork;
  readonly #known = new Set<SandboxId>();
  readonly #owned: boolean;

  /** In `folder`, which another world has made, or in a new one. */
  constructor(platform: Platform, options: NetworkWorldOptions = {}, folder?: string) {
    this.#owned = folder === undefined;
    this.folder = folder ?? mkdtempSync(join(tmpdir(), 'gantry-pod-network-'));
    this.platform = platform;
    for (const name of ['bin', 'net.d', 'log']) mkdirSync(this.at(name), { recursive: true });
    const { namespaces, processes } = platform;
    this.pods = new PodNamespaces(
      { namespaces },
      { networkDir: this.at('netns'), userDir: this.at('userns') },
    );
    this.attachments = new AttachmentStore({ directory: this.at('attachments') });
    const { timeoutMs } = options;
    this.plugins = new CniPlugins(
      { processes },
      { binDirs: [this.at('bin')], ...(timeoutMs !== undefined && { timeoutMs }) },
    );
    this.directory = new NetworkDirectory({ confDir: this.at('net.d'), maxConfNum: 0 });
    this.network = new PodNetwork(
      {
        client: new CniClient({ plugins: this.plugins }),
        attachments: this.attachments,
        namespaces,
        directories: new Map([['', this.directory]]),
      },
      { setupSerially: false, ipPreference: 'ipv4', internalLoopback: true, ...options },
    );
  }

  at(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  /** A plugin that is a shell script. */
  script(type: string, ...lines: readonly string[]): void {
    const file = this.at('bin', type);
    writeFileSync(file, `#!/bin/sh\n${lines.join('\n')}\n`);
    chmodSync(file, 0o755);
  }

  configure(file: string, document: object): void {
    writeFileSync(this.at('net.d', file), JSON.stringify(document));
  }

  pod(name: string, more: Partial<PodToConnect> = {}): PodToConnect {
    const id = parseSandboxId(name);
    this.#known.add(id);
    return {
      id,
      name,
      namespace: 'default',
      uid: `uid-${name}`,
      handler: '',
      netns: this.pods.networkPath(id),
      annotations: {},
      portMappings: [],
      cgroupPath: '',
      ...more,
    };
  }

  [Symbol.dispose](): void {
    this.directory[Symbol.dispose]();
    for (const id of this.#known) this.pods.remove(id);
    if (this.#owned) rmSync(this.folder, { recursive: true });
  }
}
