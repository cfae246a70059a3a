/**
 * Results of plugins, of all versions of the protocol, in one shape; and a result as another version has it, for the
 * plugins that get it as `prevResult`.
 *
 * Source: CNI specification 0.2 ("ip4", "ip6"), 0.3 to 0.4 (`ips` with a version), 1.0 and 1.1 (without), "Section 5".
 */
import { invalidArgument } from '../../base/errors.ts';
import {
  asObject,
  type JsonObject,
  member,
  optionalArray,
  optionalString,
  optionalStrings,
} from '../../oci/json.ts';
import { type CniVersion, isAtLeast } from './cni-protocol.ts';
import { parsePrefix } from './ip-address.ts';

export interface CniInterface {
  readonly name: string;
  readonly mac: string;
  /** "" for an interface of the host. */
  readonly sandbox: string;
}

export interface CniAddress {
  readonly address: string;
  readonly family: 4 | 6;
  readonly prefixLength: number;
  /** "" for none. */
  readonly gateway: string;
  /** Index into `interfaces`; undefined when the plugin does not say. */
  readonly interface: number | undefined;
}

export interface CniResult {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniAddress[];
  /** `gateway` "" for that of the address. */
  readonly routes: readonly { readonly destination: string; readonly gateway: string }[];
  readonly dns: {
    readonly nameservers: readonly string[];
    readonly domain: string;
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
}

/** Errors: InvalidArgument. */
export function parseCniResult(document: JsonObject): CniResult {
  const dns = asObject(member(document, 'dns') ?? {}, 'dns');
  const interfaces = objects(document, 'interfaces', 'result').map((entry, index) => ({
    name: optionalString(entry, 'name', `interfaces[${index}]`) ?? '',
    mac: optionalString(entry, 'mac', `interfaces[${index}]`) ?? '',
    sandbox: optionalString(entry, 'sandbox', `interfaces[${index}]`) ?? '',
  }));
  const ips = objects(document, 'ips', 'result').map((entry, index) =>
    addressOf(entry, 'address', `ips[${index}]`, interfaces.length),
  );
  const old = ['ip4', 'ip6'].flatMap((name) => {
    const value = member(document, name);
    return value === undefined ? [] : [{ name, entry: asObject(value, name) }];
  });
  return {
    interfaces,
    ips: [...ips, ...old.map(({ name, entry }) => addressOf(entry, 'ip', name, 0))],
    routes: [...routesOf(document, 'result'), ...old.flatMap(({ name, entry }) => routesOf(entry, name))],
    dns: {
      nameservers: optionalStrings(dns, 'nameservers', 'dns') ?? [],
      domain: optionalString(dns, 'domain', 'dns') ?? '',
      search: optionalStrings(dns, 'search', 'dns') ?? [],
      options: optionalStrings(dns, 'options', 'dns') ?? [],
    },
  };
}

const objects = (document: JsonObject, name: string, where: string): JsonObject[] =>
  (optionalArray(document, name, where) ?? []).map((value, index) => asObject(value, `${name}[${index}]`));

const routesOf = (document: JsonObject, where: string): CniResult['routes'] =>
  objects(document, 'routes', where).map((entry, index) => ({
    destination: optionalString(entry, 'dst', `routes[${index}]`) ?? '',
    gateway: optionalString(entry, 'gw', `routes[${index}]`) ?? '',
  }));

function addressOf(entry: JsonObject, name: string, where: string, interfaces: number): CniAddress {
  const text = optionalString(entry, name, where) ?? '';
  const parsed = parsePrefix(text);
  if (parsed === undefined)
    throw invalidArgument(`${where}.${name} ${JSON.stringify(text)} must be ADDRESS/PREFIX`);
  const index = member(entry, 'interface');
  if (index !== undefined && !isIndex(index, interfaces))
    throw invalidArgument(`${where}.interface must be the index of one of ${interfaces} interfaces`);
  return {
    ...parsed,
    gateway: optionalString(entry, 'gateway', where) ?? '',
    interface: index,
  };
}

const isIndex = (value: unknown, count: number): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < count;

/**
 * What `version` has for a result: nothing that a plugin told is lost between versions from 0.3.0 on. The older ones
 * have a shape of their own and stay as they are.
 */
export function resultAsVersion(document: JsonObject, version: CniVersion): JsonObject {
  const ips = optionalArray(document, 'ips', 'result');
  if (ips === undefined || !isAtLeast(version, '0.3.0')) return { ...document, cniVersion: version };
  const named = !isAtLeast(version, '1.0.0');
  return {
    ...document,
    cniVersion: version,
    ips: ips.map((value, index) => {
      const { version: _, ...rest } = asObject(value, `ips[${index}]`);
      if (!named) return rest;
      const address = parsePrefix(optionalString(rest, 'address', `ips[${index}]`) ?? '');
      return { version: address?.family === 6 ? '6' : '4', ...rest };
    }),
  };
}
