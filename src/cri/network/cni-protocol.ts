/**
 * What a network configuration asks of us, checked: names that plugins make paths of, a version that we speak.
 *
 * Source: CNI specification 1.1, "Section 1" and "Section 3". Differs from containerd: `cniVersions` is heeded and the
 * name of a network is checked when the file is read, so a bad one shows in the status and not with the first pod.
 */
import { invalidArgument } from '../../base/errors.ts';
import { type JsonObject, member, optionalString, optionalStrings } from '../../oci/json.ts';
import type { CniNetwork, CniPlugin } from '../cni-config.ts';

/** In their order. */
const versions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof versions)[number];

/** What a plugin can be asked to do. */
export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION';

/** Commands that older versions do not have: they are left out there. */
const since: Readonly<Record<'CHECK' | 'STATUS' | 'GC', CniVersion>> = {
  CHECK: '0.4.0',
  STATUS: '1.1.0',
  GC: '1.1.0',
};

export interface NetworkPlan {
  readonly name: string;
  readonly version: CniVersion;
  readonly plugins: readonly CniPlugin[];
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  readonly document: JsonObject;
}

export const isAtLeast = (version: CniVersion, wanted: CniVersion): boolean =>
  versions.indexOf(version) >= versions.indexOf(wanted);

export const hasCommand = ({ version }: NetworkPlan, command: keyof typeof since): boolean =>
  isAtLeast(version, since[command]);

/** Errors: InvalidArgument. */
export function planNetwork({ name, plugins, document }: CniNetwork): NetworkPlan {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/.test(name))
    throw invalidArgument(`network name ${JSON.stringify(name)} must be letters, digits, "_", "." and "-"`);
  for (const { type } of plugins) checkPluginType(type);
  return {
    name,
    version: chooseVersion(document),
    plugins,
    disableCheck: flag(document, 'disableCheck'),
    disableGc: flag(document, 'disableGC'),
    document,
  };
}

/** The last version that the configuration and we have. None at all means the first one. */
function chooseVersion(document: JsonObject): CniVersion {
  const one = optionalString(document, 'cniVersion', 'it') ?? '';
  const offered = [...(optionalStrings(document, 'cniVersions', 'it') ?? []), ...(one === '' ? [] : [one])];
  if (offered.length === 0) return '0.1.0';
  const chosen = versions.findLast((version) => offered.includes(version));
  if (chosen === undefined)
    throw invalidArgument(`cniVersion ${offered.join(', ')} is none of ${versions.join(', ')}`);
  return chosen;
}

/** Plugins are looked up by this name in folders. Errors: InvalidArgument. */
export function checkPluginType(type: string): void {
  if (!/^[^/\0]{1,255}$/.test(type) || type === '.' || type === '..')
    throw invalidArgument(`plugin type ${JSON.stringify(type)} must be the name of a file`);
}

/** A word of the protocol's arguments, which are `K=V;K=V`. Errors: InvalidArgument. */
export function checkArgument(name: string, value: string): void {
  if (/[;=\0\n]/.test(value))
    throw invalidArgument(`${name} ${JSON.stringify(value)} must have no ";", "=" or line end`);
}

/** Strings are taken as well, as libcni does. */
function flag(document: JsonObject, name: string): boolean {
  const value = member(document, name) ?? false;
  if (typeof value === 'boolean') return value;
  if (value === 'true' || value === 'false') return value === 'true';
  throw invalidArgument(`${name} must be true or false`);
}
