/**
 * Which hosts are asked for a registry's content, in which order and how: hosts.toml directories, Docker's certs.d
 * pattern, or the registry itself. Read anew on every pull, so that a change needs no restart.
 *
 * Lookup under each root: `<host>_<port>_`, `<host>:<port>`, `<host>`, `_default`; the first directory that exists
 * counts. In it: hosts.toml; without one, `*.crt` are authorities and `*.cert` with `*.key` client certificates.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerdError, failedPrecondition, invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { isErrno } from '../../platform/errno.ts';
import { isLoopback } from '../../wire/http/proxy.ts';
import { defaultTls, isDefaultTls, type TlsSettings } from '../../wire/http/tls.ts';
import { allCapabilities, type HostCapability, type HostTable, parseHostsToml } from './hosts-toml.ts';

/** A host as requests are made to it. */
export interface RegistryHost {
  readonly origin: URL;
  /** What stands before `/<repository>/manifests/…`: `/v2`, or what override_path says. No slash at the end. */
  readonly path: string;
  readonly capabilities: readonly HostCapability[];
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsSettings;
  readonly dialTimeoutMs: number | undefined;
  /** Not the registry itself: told by `?ns=` whose content is asked for. */
  readonly isMirror: boolean;
  /** Tried when the host turns out to speak no TLS: for localhost with TLS settings. */
  readonly plainFallback: boolean;
  /** Why it is asked, for people: "host table 1 of /etc/…/hosts.toml". */
  readonly reason: string;
}

export interface HostPlan {
  /** In the order of asking; never empty. */
  readonly hosts: readonly RegistryHost[];
  /** hosts.toml or certs.d directory that was used. */
  readonly source: string | undefined;
  /** Directories that were looked for and are not there. */
  readonly absent: readonly string[];
  readonly warnings: readonly string[];
}

export interface HostPlanOptions {
  /** Roots of hosts.toml directories, in order. */
  readonly roots: readonly string[];
  readonly defaultScheme?: 'http' | 'https' | undefined;
}

/**
 * `registry` is the host of a reference. Errors: FailedPrecondition for a hosts.toml or certificate that is no good,
 * InvalidArgument for a registry that no request can be sent to.
 */
export async function planHosts(registry: string, options: HostPlanOptions): Promise<HostPlan> {
  const absent: string[] = [];
  for (const root of options.roots)
    for (const name of directoryNames(registry)) {
      const directory = join(root, name);
      if (await isDirectory(directory)) return planFrom(directory, registry, options, absent);
      absent.push(directory);
    }
  const hosts = [upstream(registry, options, noSettings, defaultTls, 'the registry itself: no hosts.toml')];
  return { hosts, source: undefined, absent, warnings: [] };
}

function directoryNames(registry: string): string[] {
  const port = /^(.+):(\d+)$/.exec(registry);
  if (port === null) return [registry, '_default'];
  const [, host = '', number = ''] = port;
  return [`${host}_${number}_`, registry, host, '_default'];
}

async function planFrom(
  directory: string,
  registry: string,
  options: HostPlanOptions,
  absent: readonly string[],
): Promise<HostPlan> {
  const path = join(directory, 'hosts.toml');
  const text = await readConfig(path);
  if (text === undefined) {
    const tls = await dockerCertificates(directory);
    const reason = isDefaultTls(tls)
      ? `the registry itself: ${directory} is empty`
      : `the registry itself, certificates of ${directory}`;
    return {
      hosts: [upstream(registry, options, noSettings, tls, reason)],
      source: directory,
      absent,
      warnings: [],
    };
  }
  const file = parseHostsToml(text, path, directory);
  const hosts: RegistryHost[] = [];
  for (const [index, table] of file.hosts.entries())
    hosts.push(hostOf(table, registry, await loadTls(table, path), `host table ${index + 1} of ${path}`));
  const tls = await loadTls(file.server, path);
  hosts.push(
    file.server.url === undefined
      ? upstream(registry, options, file.server, tls, `the registry itself, after the hosts of ${path}`)
      : hostOf(file.server, registry, tls, `server of ${path}`),
  );
  return { hosts, source: path, absent, warnings: file.warnings };
}

function hostOf(table: HostTable, registry: string, tls: TlsSettings, reason: string): RegistryHost {
  const url = table.url as URL;
  const path = url.pathname.replace(/\/+$/, '');
  return {
    origin: new URL(url.origin),
    path: table.overridePath || path.endsWith('/v2') ? path : `${path}/v2`,
    capabilities: table.capabilities,
    headers: table.headers,
    tls,
    dialTimeoutMs: table.dialTimeoutMs,
    isMirror: url.host !== registry && url.host !== serverOf(registry),
    plainFallback: false,
    reason,
  };
}

type UpstreamSettings = Pick<HostTable, 'capabilities' | 'headers' | 'dialTimeoutMs'>;
const noSettings: UpstreamSettings = { capabilities: allCapabilities, headers: {}, dialTimeoutMs: undefined };

function upstream(
  registry: string,
  options: HostPlanOptions,
  settings: UpstreamSettings,
  tls: TlsSettings,
  reason: string,
): RegistryHost {
  const server = serverOf(registry);
  const local = isLocal(registry);
  const guess = local && isDefaultTls(tls) ? 'http' : 'https';
  const scheme = options.defaultScheme ?? guess;
  return {
    origin: new URL(`${scheme}://${server}`),
    path: '/v2',
    capabilities: settings.capabilities,
    headers: settings.headers,
    tls,
    dialTimeoutMs: settings.dialTimeoutMs,
    isMirror: false,
    plainFallback: local && options.defaultScheme === undefined && scheme === 'https',
    reason,
  };
}

/** Docker Hub's API has a name of its own. */
const serverOf = (registry: string): string => (registry === 'docker.io' ? 'registry-1.docker.io' : registry);

/**
 * On this machine, on a port that does not promise TLS. Errors: InvalidArgument for what has the form of a host and is
 * none: a port past 65535, an address with too many parts.
 */
function isLocal(registry: string): boolean {
  const url = URL.parse(`http://${registry}`);
  if (url === null)
    throw invalidArgument(
      `registry ${JSON.stringify(registry)} is no host that can be asked: check its name and port`,
    );
  const { hostname, port } = url;
  return port !== '443' && isLoopback(hostname.replace(/^\[|\]$/g, ''));
}

async function loadTls(table: HostTable, path: string): Promise<TlsSettings> {
  const ca = await Promise.all(table.caPaths.map((file) => readCertificate(file, path)));
  const clients = await Promise.all(
    table.clientPaths.map(async ({ cert, key }) => ({
      cert: await readCertificate(cert, path),
      key: await readCertificate(key ?? cert, path),
    })),
  );
  return { ca, clients, skipVerify: table.skipVerify };
}

async function dockerCertificates(directory: string): Promise<TlsSettings> {
  const names = (await readdir(directory)).sort();
  const read = (name: string): Promise<string> => readCertificate(join(directory, name), directory);
  const ca = await Promise.all(names.filter((name) => name.endsWith('.crt')).map(read));
  const clients = await Promise.all(
    names
      .filter((name) => name.endsWith('.cert'))
      .map(async (name) => ({ cert: await read(name), key: await read(name.replace(/cert$/, 'key')) })),
  );
  return { ca, clients, skipVerify: false };
}

async function readCertificate(file: string, usedBy: string): Promise<string> {
  const text = await readConfig(file);
  if (text === undefined)
    throw failedPrecondition(`${usedBy} needs the certificate file ${file}, which is not there`);
  if (!text.includes('-----BEGIN '))
    throw failedPrecondition(`${file}, used by ${usedBy}, is not a PEM file`);
  return text;
}

/** Undefined when the file is absent. */
async function readConfig(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > limits.registryConfigBytes)
      throw failedPrecondition(
        `${path} has ${size} bytes, more than the ${limits.registryConfigBytes} allowed`,
      );
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    if (error instanceof ContainerdError) throw error;
    throw failedPrecondition(`${path} cannot be read: ${(error as Error).message}`, error);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isAbsent(error)) return false;
    throw failedPrecondition(`${path} cannot be read: ${(error as Error).message}`, error);
  }
}

const isAbsent = (error: unknown): boolean => isErrno(error, 'ENOENT', 'ENOTDIR');
