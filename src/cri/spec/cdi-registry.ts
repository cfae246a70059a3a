/**
 * CDI devices of this machine: what the specification files of the administrator and of vendors' tools say. A directory
 * that comes later wins over one before; two files of one directory that both describe a device leave it ambiguous, and
 * a file that cannot be read takes only its own devices out. Files are JSON; YAML ones that are not JSON too are
 * reported as such.
 */
import { posix } from 'node:path';
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { asObject, type JsonObject, optionalArray, optionalString, parseJsonObject } from '../../oci/json.ts';
import { type CdiEdits, parseCdiEdits } from './cdi-edits.ts';
import { cdiDevicePattern, cdiKindPattern } from './cdi-names.ts';

export interface CdiFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface CdiDeviceSpec {
  readonly file: string;
  /** For all devices of the file, once. */
  readonly common: CdiEdits;
  readonly own: CdiEdits;
}

export interface CdiRegistry {
  readonly devices: ReadonlyMap<string, CdiDeviceSpec>;
  /** Of files that could not be used, and devices that are described twice. */
  readonly problems: readonly string[];
}

/** Files of the directories that exist, lowest priority first. */
export type CdiDirectories = readonly (readonly CdiFile[])[];

export interface CdiReads {
  /** Names in a directory; empty for one that does not exist. */
  readonly list: (directory: string) => Promise<readonly string[]>;
  readonly file: (path: string) => Promise<Uint8Array>;
}

/** Usually of `/etc/cdi` and `/var/run/cdi`. Unreadable files come with their error as a problem of `cdiRegistry`. */
export async function readCdiDirectories(
  directories: readonly string[],
  reads: CdiReads,
): Promise<CdiRegistry> {
  const problems: string[] = [];
  const files: CdiFile[][] = [];
  for (const directory of directories) {
    const names = (await reads.list(directory)).filter((name) => /\.(?:json|ya?ml)$/.test(name)).toSorted();
    const read: CdiFile[] = [];
    for (const name of names.slice(0, limits.cdiFiles)) {
      const path = posix.join(directory, name);
      try {
        read.push({ path, bytes: await reads.file(path) });
      } catch (error) {
        problems.push(`${path}: ${ContainerdError.from(error).message}`);
      }
    }
    files.push(read);
  }
  const registry = cdiRegistry(files);
  return { devices: registry.devices, problems: [...problems, ...registry.problems] };
}

export function cdiRegistry(directories: CdiDirectories): CdiRegistry {
  const devices = new Map<string, CdiDeviceSpec>();
  const problems: string[] = [];
  for (const files of directories) {
    const here = new Map<string, CdiDeviceSpec>();
    const ambiguous = new Set<string>();
    for (const file of files)
      try {
        for (const [name, device] of parseCdiFile(file)) {
          if (here.has(name)) {
            ambiguous.add(name);
            problems.push(`${name} is in ${here.get(name)?.file ?? ''} and in ${file.path}`);
          }
          here.set(name, device);
        }
      } catch (error) {
        problems.push(ContainerdError.from(error).message);
      }
    for (const [name, device] of here) devices.set(name, device);
    for (const name of ambiguous) devices.delete(name);
  }
  return { devices, problems };
}

/** Errors: InvalidArgument. */
function parseCdiFile({ path, bytes }: CdiFile): [string, CdiDeviceSpec][] {
  const what = `CDI file ${path}`;
  const document = parseCdiDocument(path, bytes);
  const version = optionalString(document, 'cdiVersion', what) ?? '';
  if (!/^v?(?:0\.[3-9]|1\.[0-9]+)\.[0-9]+$/.test(version))
    throw invalidArgument(`${what}: cdiVersion ${JSON.stringify(version)} is not known`);
  const kind = optionalString(document, 'kind', what) ?? '';
  if (!cdiKindPattern.test(kind))
    throw invalidArgument(`${what}: kind ${JSON.stringify(kind)} must be as "vendor.com/class"`);
  const common = parseCdiEdits(document, what);
  return (optionalArray(document, 'devices', what) ?? []).map((entry, index) => {
    const where = `${what}: devices[${index}]`;
    const device = asObject(entry, where);
    const name = optionalString(device, 'name', where) ?? '';
    if (!cdiDevicePattern.test(name)) throw invalidArgument(`${where}: name ${JSON.stringify(name)} is none`);
    return [`${kind}=${name}`, { file: path, common, own: parseCdiEdits(device, where) }];
  });
}

function parseCdiDocument(path: string, bytes: Uint8Array): JsonObject {
  try {
    return parseJsonObject(bytes, `CDI file ${path}`, limits.cdiFileBytes);
  } catch (error) {
    if (path.endsWith('.json')) throw error;
    const { message } = ContainerdError.from(error);
    throw invalidArgument(
      `${message} (YAML is read only as far as it is JSON: write the file as JSON)`,
      error,
    );
  }
}
