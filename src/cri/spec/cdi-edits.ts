/** What a CDI specification wants changed in a container's spec (containerEdits), as it stands in the file. */
import { invalidArgument } from '../../base/errors.ts';
import {
  asObject,
  type JsonObject,
  member,
  optionalArray,
  optionalString,
  optionalStrings,
} from '../../oci/json.ts';
import type { SpecDevice, SpecHook, SpecHookName, SpecMount } from '../../oci/runtime-spec.ts';

export interface CdiDeviceNode extends Partial<Omit<SpecDevice, 'path'>> {
  readonly path: string;
  /** Where the device is on the host, when elsewhere. */
  readonly hostPath: string;
  readonly permissions: string;
}

export interface CdiEdits {
  readonly env: readonly string[];
  readonly deviceNodes: readonly CdiDeviceNode[];
  readonly mounts: readonly SpecMount[];
  readonly hooks: readonly { readonly name: SpecHookName; readonly hook: SpecHook }[];
  readonly additionalGids: readonly number[];
}

const hookNames: readonly string[] = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
];
const isHookName = (name: string): name is SpecHookName => hookNames.includes(name);

/** The `containerEdits` of a document or of a device in it. Errors: InvalidArgument. */
export function parseCdiEdits(holder: JsonObject, what: string): CdiEdits {
  const where = `${what}: containerEdits`;
  const edits = asObject(member(holder, 'containerEdits') ?? {}, where);
  const each = <Item>(name: string, parse: (item: JsonObject, at: string) => Item): Item[] =>
    (optionalArray(edits, name, where) ?? []).map((item, index) => {
      const at = `${where}.${name}[${index}]`;
      return parse(asObject(item, at), at);
    });
  const env = optionalStrings(edits, 'env', where) ?? [];
  for (const entry of env)
    if (!/^[^=\0]+=[^\0]*$/.test(entry))
      throw invalidArgument(`${where}.env: ${JSON.stringify(entry)} is not NAME=value`);
  return {
    env,
    deviceNodes: each('deviceNodes', parseDevice),
    mounts: each('mounts', parseMount),
    hooks: each('hooks', parseHook),
    additionalGids: (optionalArray(edits, 'additionalGids', where) ?? []).map((gid) => number(gid, where)),
  };
}

function number(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
  throw invalidArgument(`${where}: ${JSON.stringify(value)} must be a whole number`);
}

function absolute(object: JsonObject, name: string, where: string): string {
  const path = optionalString(object, name, where) ?? '';
  if (path.startsWith('/')) return path;
  throw invalidArgument(`${where}.${name} ${JSON.stringify(path)} must be an absolute path`);
}

function parseDevice(object: JsonObject, where: string): CdiDeviceNode {
  const path = absolute(object, 'path', where);
  const type = optionalString(object, 'type', where) ?? '';
  if (!/^[bcup]?$/.test(type))
    throw invalidArgument(`${where}.type ${JSON.stringify(type)} must be b, c, u or p`);
  const permissions = optionalString(object, 'permissions', where) || 'rwm';
  if (!/^[rwm]{1,3}$/.test(permissions)) throw invalidArgument(`${where}.permissions must be of "rwm"`);
  const numbers = (['major', 'minor', 'fileMode', 'uid', 'gid'] as const).flatMap((name) => {
    const value = member(object, name);
    return value === undefined ? [] : [[name, number(value, `${where}.${name}`)] as const];
  });
  return {
    path,
    hostPath: optionalString(object, 'hostPath', where) || path,
    permissions,
    ...(type !== '' && { type: type as SpecDevice['type'] }),
    ...Object.fromEntries(numbers),
  };
}

function parseMount(object: JsonObject, where: string): SpecMount {
  return {
    destination: absolute(object, 'containerPath', where),
    type: optionalString(object, 'type', where) || 'bind',
    source: absolute(object, 'hostPath', where),
    options: optionalStrings(object, 'options', where) ?? [],
  };
}

function parseHook(object: JsonObject, where: string): CdiEdits['hooks'][number] {
  const name = optionalString(object, 'hookName', where) ?? '';
  if (!isHookName(name)) throw invalidArgument(`${where}.hookName ${JSON.stringify(name)} is no hook of OCI`);
  const args = optionalStrings(object, 'args', where);
  const env = optionalStrings(object, 'env', where);
  const timeout = member(object, 'timeout');
  return {
    name,
    hook: {
      path: absolute(object, 'path', where),
      ...(args && { args }),
      ...(env && { env }),
      ...(timeout !== undefined && { timeout: number(timeout, `${where}.timeout`) }),
    },
  };
}
