import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hostPlatform } from '../../oci/platform.ts';
import { Configuration } from './daemon-config.ts';

describe('proxy_plugins', () => {
  let directory = '';
  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'gantry-proxies-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  const load = (text: string): Configuration => {
    const config = path.join(directory, 'config.toml');
    writeFileSync(config, text);
    return new Configuration({ config });
  };

  for (const version of [1, 2, 3, 4])
    it(`are read from version ${version}, with all that is said of them`, () => {
      const config = load(`version = ${version}
[proxy_plugins.stargz]
type = 'snapshot'
address = '/run/stargz.sock'
platform = 'linux/arm64'
capabilities = ['remap-ids']
[proxy_plugins.stargz.exports]
root = '/var/lib/stargz'
[proxy_plugins.far]
type = 'io.containerd.content.v1'
address = 'unix:///run/far.sock'
`);
      const [stargz, far] = config.daemon.proxyPlugins;
      assert.deepEqual(stargz, {
        kind: 'snapshot',
        type: 'io.containerd.snapshotter.v1',
        id: 'stargz',
        address: '/run/stargz.sock',
        platform: { os: 'linux', architecture: 'arm64' },
        exports: { root: '/var/lib/stargz', address: '/run/stargz.sock' },
        capabilities: ['remap-ids'],
      });
      assert.deepEqual(far, {
        kind: 'content',
        type: 'io.containerd.content.v1',
        id: 'far',
        address: '/run/far.sock',
        platform: hostPlatform(),
        exports: { address: 'unix:///run/far.sock' },
        capabilities: [],
      });
      assert.deepEqual(config.warnings(), []);
    });

  const refused: [what: string, settings: string, words: RegExp][] = [
    [
      'an unknown type',
      "type = 'odd'\naddress = '/a'",
      /proxy_plugins\.x\.type: must be one of snapshot, content, diff, sandbox, not "odd"/,
    ],
    ['no type', "address = '/a'", /proxy_plugins\.x\.type: must be one of/],
    [
      'no address',
      "type = 'diff'",
      /proxy_plugins\.x\.address: must be the absolute path of a unix socket, not ""/,
    ],
    ['a relative address', "type = 'diff'\naddress = 'a.sock'", /proxy_plugins\.x\.address: .*not "a\.sock"/],
    ['a bad platform', "type = 'diff'\naddress = '/a'\nplatform = '///'", /proxy_plugins\.x\.platform: /],
    [
      'an export that is no text',
      "type = 'diff'\naddress = '/a'\nexports = { a = 1 }",
      /proxy_plugins\.x\.exports\.a: must be a string/,
    ],
  ];
  for (const [what, settings, words] of refused)
    it(`${what} is refused by file and key`, () => {
      assert.throws(
        () => load(`version = 3\n[proxy_plugins.x]\n${settings}`),
        (error) => error instanceof Error && error.message.startsWith(directory) && words.test(error.message),
      );
    });

  it('a key that nothing reads is named', () => {
    const config = load("version = 3\n[proxy_plugins.x]\ntype = 'diff'\naddress = '/a'\ncolour = 'red'");
    assert.deepEqual(config.warnings(), ['unknown key proxy_plugins.x.colour is ignored']);
  });
});
