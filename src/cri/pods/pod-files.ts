/**
 * The files that a pod gives its containers: `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname` below the root directory,
 * where they outlive a reboot, and the tmpfs of `/dev/shm` below the state directory.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { Platform } from '../../platform/platform.ts';
import { NamespaceMode } from '../../wire/gen/runtime/v1/common_pb.js';
import type { DNSConfig, PodSandboxConfig } from '../../wire/gen/runtime/v1/sandbox_pb.js';
import type { PodFiles } from '../spec/container-mounts.ts';

/** resolv.conf(5). */
const maxNameservers = 3;
const shmOptions = ['noexec', 'nosuid', 'nodev', 'mode=1777', 'size=67108864'];

export interface PodDirectories {
  /** Outlives a reboot. */
  readonly root: string;
  readonly state: string;
}

export class PodFileStore {
  readonly #mounts: Platform['mounts'];
  readonly #directories: PodDirectories;

  constructor({ mounts }: Pick<Platform, 'mounts'>, directories: PodDirectories) {
    this.#mounts = mounts;
    this.#directories = directories;
  }

  root(id: string): string {
    return join(this.#directories.root, 'sandboxes', id);
  }

  state(id: string): string {
    return join(this.#directories.state, 'sandboxes', id);
  }

  /** Pods that have a directory. */
  list(): string[] {
    return [this.#directories.root, this.#directories.state].flatMap((directory) => {
      const sandboxes = join(directory, 'sandboxes');
      return existsSync(sandboxes) ? readdirSync(sandboxes) : [];
    });
  }

  paths(id: string, config: PodSandboxConfig): Required<PodFiles> {
    const onHost = config.linux?.securityContext?.namespaceOptions?.ipc === NamespaceMode.NODE;
    return {
      hostname: join(this.root(id), 'hostname'),
      hosts: join(this.root(id), 'hosts'),
      resolvConf: join(this.root(id), 'resolv.conf'),
      shm: onHost ? '/dev/shm' : join(this.state(id), 'shm'),
    };
  }

  /** Errors: InvalidArgument (DNS). */
  make(id: string, config: PodSandboxConfig): void {
    const paths = this.paths(id, config);
    const dns = resolvConf(config.dnsConfig);
    withNodeErrors(() => {
      mkdirSync(this.root(id), { recursive: true, mode: 0o755 });
      mkdirSync(this.state(id), { recursive: true, mode: 0o755 });
      writeFileSync(paths.hostname, `${config.hostname || hostname()}\n`, { mode: 0o644 });
      if (existsSync('/etc/hosts')) copyFileSync('/etc/hosts', paths.hosts);
      else writeFileSync(paths.hosts, '127.0.0.1\tlocalhost\n');
      if (dns !== undefined) writeFileSync(paths.resolvConf, dns, { mode: 0o644 });
      else if (existsSync('/etc/resolv.conf')) copyFileSync('/etc/resolv.conf', paths.resolvConf);
      else writeFileSync(paths.resolvConf, '');
    });
    this.mountShm(id, config);
  }

  /** Again after a reboot; not twice. */
  mountShm(id: string, config: PodSandboxConfig): void {
    const { shm } = this.paths(id, config);
    if (shm === '/dev/shm') return;
    withNodeErrors(() => mkdirSync(shm, { recursive: true, mode: 0o700 }));
    this.#mounts.mount({ type: 'tmpfs', source: 'shm', target: '', options: shmOptions }, shm);
  }

  /** Of the state directory; those of the root stay for containers to be looked at. Idempotent. */
  unmountShm(id: string): void {
    const shm = join(this.state(id), 'shm');
    if (existsSync(shm)) this.#mounts.unmountAll(shm, { lazy: true });
  }

  /** All of it. Idempotent. */
  remove(id: string): void {
    this.unmountShm(id);
    withNodeErrors(() => {
      for (const directory of [this.root(id), this.state(id)])
        rmSync(directory, { recursive: true, force: true });
    });
  }
}

/** Undefined for the host's own. Errors: InvalidArgument. */
function resolvConf(dns: DNSConfig | undefined): string | undefined {
  if (dns === undefined) return undefined;
  const { servers, searches, options } = dns;
  if (servers.length > maxNameservers)
    throw invalidArgument(`a pod can have ${maxNameservers} DNS servers, not ${servers.length}`);
  if ([...servers, ...searches, ...options].some((word) => /[\s\0]/.test(word)))
    throw invalidArgument('words of the DNS configuration cannot contain blanks');
  const lines = [
    ...(searches.length > 0 ? [`search ${searches.join(' ')}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ];
  return lines.length === 0 ? undefined : `${lines.join('\n')}\n`;
}
