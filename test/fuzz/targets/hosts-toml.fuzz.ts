/** hosts.toml: hosts that can be asked, headers that can be sent, absolute paths. */
import assert from 'node:assert/strict';
import { isAbsolute } from 'node:path';
import { type HostTable, parseHostsToml } from '../../../src/core/registry/hosts-toml.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

const keys = Array.from({ length: 3000 }, (_, number) => `unknown${number} = ${number}`).join('\n');

function checkHost({ url, headers, caPaths, clientPaths, dialTimeoutMs }: HostTable): void {
  if (url !== undefined) {
    assert.match(url.protocol, /^https?:$/);
    assert.equal(url.username + url.search + url.hash, '');
  }
  const sent = new Headers(headers);
  assert.equal([...sent.keys()].length, Object.keys(headers).length);
  const paths = [...caPaths, ...clientPaths.flatMap(({ cert, key }) => [cert, key ?? '/'])];
  assert.ok(paths.every((path) => isAbsolute(path)));
  assert.ok(dialTimeoutMs === undefined || (Number.isFinite(dialTimeoutMs) && dialTimeoutMs > 0));
}

export const hostsToml: FuzzTarget = {
  name: 'hosts-toml',
  seeds: [
    'server = "https://registry-1.docker.io"\n[host."https://mirror.example:5000/v2/p"]\ncapabilities = ["pull", "resolve"]\noverride_path = true\nskip_verify = false\nca = "ca.pem"\nclient = [["c.pem", "k.pem"]]\ndial_timeout = "10s"\n[host."https://mirror.example:5000/v2/p".header]\nx-a = ["1", "2"]\n',
    'server = "registry.example"\nca = ["/a", "b"]\nclient = "both.pem"\nunknown = 1\n',
    '',
  ],
  hostile: [
    keys,
    `${keys}\n[host."http://x"]\nca = 1`,
    '[host."http://x"]\n[host."http://x".header]\nA = "1"\na = "2"\n',
    '[host.__proto__]\n',
    '[host."http://x:y@z"]\n[host."http://:pass@z"]\n',
    'dial_timeout = "999999999999999999999999h"',
    'host = 1979-05-27',
  ],
  words: [
    'server = ',
    '[host."',
    '"]\n',
    'ca = ',
    'client = ',
    'header',
    'capabilities = ',
    '"https://',
    'dial_timeout = "1s"\n',
  ],
  maxBytes: 64 * 1024,
  refusals: ['FailedPrecondition'],
  check(input) {
    const { hosts, server } = parseHostsToml(textOf(input), '/certs.d/x/hosts.toml', '/certs.d/x');
    for (const host of [...hosts, server]) checkHost(host);
  },
};
