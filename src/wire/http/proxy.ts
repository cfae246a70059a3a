/**
 * Which proxy a request goes through, by the environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY and their lower-case
 * forms, as Go's net/http reads them (and so containerd): loopback is never proxied, NO_PROXY lists host names with
 * their subdomains, addresses, CIDR blocks and ports.
 */
import { BlockList, isIP } from 'node:net';

export type Environment = Readonly<Record<string, string | undefined>>;

export function proxyFor(url: URL, env: Environment): URL | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const secure = url.protocol === 'https:';
  const text = secure ? variable(env, 'HTTPS_PROXY') : variable(env, 'HTTP_PROXY');
  if (text === '' || isLoopback(host)) return undefined;
  const port = url.port || (secure ? '443' : '80');
  if (bypassed(host, port, variable(env, 'NO_PROXY'))) return undefined;
  const proxy = URL.parse(text.includes('://') ? text : `http://${text}`);
  return proxy ?? undefined;
}

const variable = (env: Environment, name: string): string => env[name] || env[name.toLowerCase()] || '';

/** `localhost` and every address that stays on this machine. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const family = isIP(host);
  if (family === 4) return host.startsWith('127.');
  return family === 6 && (host === '::1' || /^::ffff:127\./i.test(host));
}

function bypassed(host: string, port: string, list: string): boolean {
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && matches(entry, host.toLowerCase(), port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return inBlock(entry, host);
  const portMatch = /^(.*[^:]):(\d+)$/.exec(entry);
  const isBareIpv6 = isIP(entry) === 6;
  const name = (portMatch !== null && !isBareIpv6 ? (portMatch[1] as string) : entry).replace(/^\[|\]$/g, '');
  if (portMatch !== null && !isBareIpv6 && portMatch[2] !== port) return false;
  if (isIP(name) !== 0) return name === host;
  const domain = name.replace(/^\*?\./, '');
  return host.endsWith(`.${domain}`) || (name === domain && host === domain);
}

function inBlock(entry: string, host: string): boolean {
  const [network = '', prefixText = ''] = entry.split('/');
  const prefix = Number(prefixText);
  const family = isIP(network);
  if (family === 0 || isIP(host) !== family || !Number.isInteger(prefix) || prefixText === '') return false;
  if (prefix > (family === 4 ? 32 : 128)) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const block = new BlockList();
  block.addSubnet(network, prefix, type);
  return block.check(host, type);
}
