/**
 * The CNI networks that are configured: the first files of the directory, by name, as libcni reads them. Read anew each
 * time, so a configuration that is put there counts at once.
 *
 * Source: CNI specification 1.1, "Section 1: Network configuration format". One file that is no good fails all, as in
 * containerd: half a network is none.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { ContainerdError, failedPrecondition, invalidArgument, wrap } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { asObject, type JsonObject, optionalArray, optionalString, parseJsonObject } from '../oci/json.ts';
import { isErrno } from '../platform/errno.ts';

export interface CniPlugin {
  readonly type: string;
  readonly document: JsonObject;
}

export interface CniNetwork {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly CniPlugin[];
  /** The file as a list of plugins, also where it has only one. */
  readonly document: JsonObject;
}

const extensions: ReadonlySet<string> = new Set(['.conf', '.conflist', '.json']);

/** `maxConfNum` 0 is all. Errors: FailedPrecondition when there is no file, or one that is no good. */
export async function loadCniNetworks(confDir: string, maxConfNum: number): Promise<CniNetwork[]> {
  const names = (await namesIn(confDir)).filter((name) => extensions.has(extname(name))).toSorted();
  if (names.length === 0) throw failedPrecondition(`no network config found in ${confDir}`);
  if (names.length > limits.cniConfigFiles)
    throw failedPrecondition(`${confDir} has ${names.length} files, more than ${limits.cniConfigFiles}`);
  const used = maxConfNum === 0 ? names : names.slice(0, maxConfNum);
  return Promise.all(used.map((name) => loadFile(join(confDir, name))));
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw failedPrecondition(`${directory} cannot be read: ${ContainerdError.from(error).message}`, error);
  }
}

async function loadFile(file: string): Promise<CniNetwork> {
  try {
    const { size } = await stat(file);
    if (size > limits.cniConfigBytes)
      throw invalidArgument(`it has ${size} bytes, more than the ${limits.cniConfigBytes} allowed`);
    const document = parseJsonObject(await readFile(file), file, limits.cniConfigBytes);
    return networkOf(extname(file) === '.conflist' ? document : listOf(document));
  } catch (error) {
    throw failedPrecondition(wrap(`CNI config ${file}`, error).message, error);
  }
}

/** A file of one plugin, as a list. */
function listOf(plugin: JsonObject): JsonObject {
  if ('plugins' in plugin) throw invalidArgument('it is a list of plugins: its name must end in .conflist');
  const { name, cniVersion } = plugin;
  return {
    ...(name !== undefined && { name }),
    ...(cniVersion !== undefined && { cniVersion }),
    plugins: [plugin],
  };
}

/** Errors: InvalidArgument. */
export function networkOf(document: JsonObject): CniNetwork {
  const name = optionalString(document, 'name', 'it') ?? '';
  if (name === '') throw invalidArgument('it has no name');
  const plugins = (optionalArray(document, 'plugins', 'it') ?? []).map((value, index) => {
    const plugin = asObject(value, `plugins[${index}]`);
    const type = optionalString(plugin, 'type', `plugins[${index}]`) ?? '';
    if (type === '') throw invalidArgument(`plugins[${index}] has no type`);
    return { type, document: plugin };
  });
  if (plugins.length === 0) throw invalidArgument('it has no plugins');
  return { name, cniVersion: optionalString(document, 'cniVersion', 'it') ?? '', plugins, document };
}
