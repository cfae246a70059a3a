/**
 * Carries a config.toml of containerd from an older version to version 4, section by section. Sections of plugins that
 * this build does not have are carried too: what `config migrate` prints must be whole.
 *
 * Differs from containerd, which migrates only the plugins that were compiled in.
 */
import { invalidArgument } from '../../base/errors.ts';
import { isTable, setOwn, type TomlRecord, type TomlValue } from '../../core/plugins/config-table.ts';

export const currentVersion = 4;

/** Version 1 named plugins by id alone; these are the ids that people configured or disabled. */
const fullNames: Readonly<Record<string, string>> = {
  content: 'io.containerd.content.v1.content',
  overlayfs: 'io.containerd.snapshotter.v1.overlayfs',
  native: 'io.containerd.snapshotter.v1.native',
  btrfs: 'io.containerd.snapshotter.v1.btrfs',
  zfs: 'io.containerd.snapshotter.v1.zfs',
  devmapper: 'io.containerd.snapshotter.v1.devmapper',
  aufs: 'io.containerd.snapshotter.v1.aufs',
  bolt: 'io.containerd.metadata.v1.bolt',
  walking: 'io.containerd.differ.v1.walking',
  scheduler: 'io.containerd.gc.v1.scheduler',
  'diff-service': 'io.containerd.service.v1.diff-service',
  'tasks-service': 'io.containerd.service.v1.tasks-service',
  task: 'io.containerd.runtime.v2.task',
  linux: 'io.containerd.runtime.v1.linux',
  cgroups: 'io.containerd.monitor.v1.cgroups',
  restart: 'io.containerd.internal.v1.restart',
  opt: 'io.containerd.internal.v1.opt',
  cri: 'io.containerd.grpc.v1.cri',
};

/** Renamed as a whole between versions 2 and 3. */
const renamedIn3: Readonly<Record<string, string>> = {
  'io.containerd.runtime.v2.shim': 'io.containerd.shim.v1.manager',
  'io.containerd.monitor.v1.cgroups': 'io.containerd.monitor.task.v1.cgroups',
  'io.containerd.internal.v1.restart': 'io.containerd.monitor.container.v1.restart',
};

const criServerKeys: ReadonlySet<string> = new Set([
  'disable_tcp_service',
  'stream_server_address',
  'stream_server_port',
  'stream_idle_timeout',
  'enable_tls_streaming',
  'x509_key_pair_streaming',
]);
const criImageKeys: ReadonlySet<string> = new Set([
  'registry',
  'image_decryption',
  'max_concurrent_downloads',
  'image_pull_progress_timeout',
  'image_pull_with_sync_fs',
]);
const criImageContainerdKeys: ReadonlySet<string> = new Set([
  'snapshotter',
  'disable_snapshot_annotations',
  'discard_unpacked_layers',
]);

/** Keys of version 3 that became keys of server plugins: [section, key, plugin, new key]. */
const serverKeys: readonly (readonly [string, string, string, string])[] = [
  ['grpc', 'address', 'io.containerd.server.v1.grpc', 'address'],
  ['grpc', 'uid', 'io.containerd.server.v1.grpc', 'uid'],
  ['grpc', 'gid', 'io.containerd.server.v1.grpc', 'gid'],
  ['grpc', 'max_recv_message_size', 'io.containerd.server.v1.grpc', 'max_recv_message_size'],
  ['grpc', 'max_send_message_size', 'io.containerd.server.v1.grpc', 'max_send_message_size'],
  ['grpc', 'tcp_address', 'io.containerd.server.v1.grpc-tcp', 'address'],
  ['grpc', 'tcp_tls_ca', 'io.containerd.server.v1.grpc-tcp', 'tls_ca'],
  ['grpc', 'tcp_tls_cert', 'io.containerd.server.v1.grpc-tcp', 'tls_cert'],
  ['grpc', 'tcp_tls_key', 'io.containerd.server.v1.grpc-tcp', 'tls_key'],
  ['grpc', 'tcp_tls_common_name', 'io.containerd.server.v1.grpc-tcp', 'tls_common_name'],
  ['ttrpc', 'address', 'io.containerd.server.v1.ttrpc', 'address'],
  ['ttrpc', 'uid', 'io.containerd.server.v1.ttrpc', 'uid'],
  ['ttrpc', 'gid', 'io.containerd.server.v1.ttrpc', 'gid'],
  ['debug', 'address', 'io.containerd.server.v1.debug', 'address'],
  ['debug', 'uid', 'io.containerd.server.v1.debug', 'uid'],
  ['debug', 'gid', 'io.containerd.server.v1.debug', 'gid'],
  ['metrics', 'address', 'io.containerd.server.v1.metrics', 'address'],
  ['metrics', 'grpc_histogram', 'io.containerd.metrics.v1.grpc-prometheus', 'grpc_histogram'],
];

export interface Migrated {
  readonly document: TomlRecord;
  /** The version the file had. */
  readonly from: number;
  /** Sections that moved, new dotted plugin name to the old one, so that errors can name both. */
  readonly notes: readonly string[];
}

/** Of a document as parsed; `file` is for messages only. Errors: InvalidArgument (version). */
export function migrate(original: TomlRecord, file: string): Migrated {
  const from = original['version'] ?? 1;
  if (typeof from !== 'number' || !Number.isInteger(from) || from < 0 || from > currentVersion)
    throw invalidArgument(
      `${file}: version: must be a number from 1 to ${currentVersion}, not ${JSON.stringify(from)}`,
    );
  const document = structuredClone(original);
  const notes: string[] = [];
  if (from < 2) nameInFull(document);
  if (from < 3) splitCri(document, notes);
  if (from < 4) moveServers(document);
  document['version'] = currentVersion;
  return { document, from, notes };
}

function tableAt(parent: TomlRecord, key: string): TomlRecord | undefined {
  const table = parent[key];
  return isTable(table) ? table : undefined;
}

function makeTable(parent: TomlRecord, key: string): TomlRecord {
  const table = tableAt(parent, key) ?? {};
  parent[key] = table;
  return table;
}

const fullName = (name: string): string =>
  Object.hasOwn(fullNames, name) ? (fullNames[name] ?? name) : name;

/** 1 to 2. */
function nameInFull(document: TomlRecord): void {
  const plugins = tableAt(document, 'plugins');
  if (plugins !== undefined)
    document['plugins'] = Object.fromEntries(
      Object.entries(plugins).map(([name, settings]) => [fullName(name), settings]),
    );
  for (const key of ['disabled_plugins', 'required_plugins']) {
    const names = document[key];
    if (Array.isArray(names))
      document[key] = names.map((name) => (typeof name === 'string' ? fullName(name) : name));
  }
}

/** 2 to 3: the one CRI plugin became three, and some plugins got other names. */
function splitCri(document: TomlRecord, notes: string[]): void {
  for (const key of ['disabled_plugins', 'required_plugins']) {
    const names = document[key];
    if (!Array.isArray(names)) continue;
    document[key] = names.flatMap((name) => {
      if (name === 'io.containerd.grpc.v1.cri')
        return [name, 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime'];
      return typeof name === 'string' && Object.hasOwn(renamedIn3, name)
        ? [renamedIn3[name] ?? name]
        : [name];
    });
  }
  const plugins = tableAt(document, 'plugins');
  if (plugins === undefined) return;
  for (const [old, now] of Object.entries(renamedIn3)) {
    const settings = plugins[old];
    if (settings === undefined) continue;
    delete plugins[old];
    plugins[now] = settings;
    notes.push(`plugins.'${old}' is now plugins.'${now}'`);
  }
  const cri = tableAt(plugins, 'io.containerd.grpc.v1.cri');
  if (cri !== undefined) divideCri(plugins, cri, notes);
}

function divideCri(plugins: TomlRecord, cri: TomlRecord, notes: string[]): void {
  const server: TomlRecord = {};
  const images: TomlRecord = {};
  const runtime: TomlRecord = {};
  for (const [key, value] of Object.entries(cri)) {
    if (criServerKeys.has(key)) setOwn(server, key, value);
    else if (criImageKeys.has(key)) setOwn(images, key, value);
    else if (key === 'sandbox_image') images['pinned_images'] = { sandbox: value };
    else if (key === 'containerd' && isTable(value)) divideCriContainerd(value, images, runtime);
    else setOwn(runtime, key, value);
  }
  delete plugins['io.containerd.grpc.v1.cri'];
  const parts: readonly (readonly [string, TomlRecord])[] = [
    ['io.containerd.grpc.v1.cri', server],
    ['io.containerd.cri.v1.images', images],
    ['io.containerd.cri.v1.runtime', runtime],
  ];
  for (const [name, settings] of parts)
    if (Object.keys(settings).length > 0) plugins[name] = { ...tableAt(plugins, name), ...settings };
  notes.push("plugins.'io.containerd.grpc.v1.cri' is now divided into it, cri.v1.images and cri.v1.runtime");
}

function divideCriContainerd(containerd: TomlRecord, images: TomlRecord, runtime: TomlRecord): void {
  const rest: TomlRecord = {};
  for (const [key, value] of Object.entries(containerd))
    setOwn(criImageContainerdKeys.has(key) ? images : rest, key, value);
  const runtimes = tableAt(rest, 'runtimes') ?? {};
  for (const [name, settings] of Object.entries(runtimes)) {
    const snapshotter: TomlValue | undefined = isTable(settings) ? settings['snapshotter'] : undefined;
    if (typeof snapshotter === 'string' && snapshotter !== '')
      setOwn(makeTable(images, 'runtime_platforms'), name, { snapshotter });
  }
  if (Object.keys(rest).length > 0) runtime['containerd'] = rest;
}

/** 3 to 4: listeners became plugins. */
function moveServers(document: TomlRecord): void {
  for (const [section, key, plugin, newKey] of serverKeys) {
    const from = tableAt(document, section);
    const value = from?.[key];
    if (from === undefined || value === undefined) continue;
    delete from[key];
    makeTable(makeTable(document, 'plugins'), plugin)[newKey] = value;
    if (Object.keys(from).length === 0) delete document[section];
  }
}
