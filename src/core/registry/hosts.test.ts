/** Which hosts are asked: hosts.toml in full, Docker's certs.d, defaults; and what a wrong file is answered with. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { hasCode } from '../../base/errors.ts';
import { type HostPlan, planHosts } from './hosts.ts';
import { parseHostsToml } from './hosts-toml.ts';

const pem = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n';

/** A root of hosts.toml directories with these files. */
async function withRoot<Result>(
  files: Record<string, string>,
  work: (root: string) => Promise<Result>,
): Promise<Result> {
  const root = await mkdtemp(join(tmpdir(), 'gantry-hosts-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(join(root, path, '..'), { recursive: true });
      await writeFile(join(root, path), text);
    }
    return await work(root);
  } finally {
    await rm(root, { recursive: true });
  }
}

const urls = (plan: HostPlan): string[] => plan.hosts.map(({ origin, path }) => `${origin.origin}${path}`);
const plan = (files: Record<string, string>, registry: string): Promise<HostPlan> =>
  withRoot(files, (root) => planHosts(registry, { roots: [root] }));

void describe('planHosts', () => {
  void it('asks the mirrors in file order, then the server', async () => {
    const { hosts, source, warnings } = await plan(
      {
        'docker.io/hosts.toml': `
server = "https://up.example"
ca = "ca.pem"
[host."https://m2.example/prefix"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  dial_timeout = "1.5s"
  [host."https://m2.example/prefix".header]
    X-One = ["a", "b"]
[host."http://m1.example:8080/custom/path"]
  override_path = true
  client = [["c.pem", "k.pem"]]
`,
        'docker.io/ca.pem': pem,
        'docker.io/c.pem': pem,
        'docker.io/k.pem': pem,
      },
      'docker.io',
    );
    assert.deepEqual(
      hosts.map(({ origin, path, isMirror }) => [`${origin.origin}${path}`, isMirror]),
      [
        ['https://m2.example/prefix/v2', true],
        ['http://m1.example:8080/custom/path', true],
        ['https://up.example/v2', true],
      ],
    );
    assert.deepEqual(hosts[0]?.capabilities, ['pull', 'resolve']);
    assert.deepEqual(
      [hosts[0]?.tls.skipVerify, hosts[0]?.dialTimeoutMs, hosts[0]?.headers],
      [true, 1500, { 'x-one': 'a, b' }],
    );
    assert.deepEqual(hosts[1]?.tls.clients, [{ cert: pem, key: pem }]);
    assert.deepEqual(hosts[2]?.tls.ca, [pem]);
    assert.match(source ?? '', /docker\.io\/hosts\.toml$/);
    assert.deepEqual(warnings, []);
  });

  void it('without a server the registry itself comes last, with what the top of the file says', async () => {
    const { hosts } = await plan(
      {
        'reg.example/hosts.toml': 'skip_verify = true\ncapabilities = ["pull"]\n[host."https://m.example"]\n',
      },
      'reg.example',
    );
    assert.deepEqual(
      hosts.map(({ origin }) => origin.host),
      ['m.example', 'reg.example'],
    );
    assert.deepEqual(
      [hosts[1]?.tls.skipVerify, hosts[1]?.capabilities, hosts[1]?.isMirror],
      [true, ['pull'], false],
    );
    assert.equal(hosts[0]?.tls.skipVerify, false);
  });

  const directories = ['reg.example_5000_', 'reg.example:5000', 'reg.example', '_default'];
  for (const [index, name] of directories.entries())
    void it(`looks for ${name} ${index === 0 ? 'first' : `before ${directories[index + 1] ?? 'giving up'}`}`, async () => {
      const files = Object.fromEntries(
        directories
          .slice(index)
          .map((directory) => [
            `${directory}/hosts.toml`,
            `server = "https://${directory.replaceAll(/[_:]/g, '')}.example"`,
          ]),
      );
      const found = await plan(files, 'reg.example:5000');
      assert.equal(found.hosts[0]?.origin.host, `${name.replaceAll(/[_:]/g, '').toLowerCase()}.example`);
      assert.equal(found.absent.length, index);
    });

  void it('the first root that has a directory counts', async () => {
    const first = { 'a/hosts.toml': 'server = "https://one.example"' };
    const second = {
      'a/hosts.toml': 'server = "https://two.example"',
      'b/hosts.toml': 'server = "https://b.example"',
    };
    await withRoot(first, (one) =>
      withRoot(second, async (two) => {
        const options = { roots: [one, two] };
        assert.deepEqual(urls(await planHosts('a', options)), ['https://one.example/v2']);
        assert.deepEqual(urls(await planHosts('b', options)), ['https://b.example/v2']);
      }),
    );
  });

  void it("takes Docker's certificate pattern where there is no hosts.toml", async () => {
    const { hosts } = await plan(
      { 'r:1/x.crt': pem, 'r:1/c.cert': pem, 'r:1/c.key': pem, 'r:1/readme': '' },
      'r:1',
    );
    assert.deepEqual(hosts[0]?.tls, { ca: [pem], clients: [{ cert: pem, key: pem }], skipVerify: false });
  });

  const defaults: [registry: string, url: string][] = [
    ['docker.io', 'https://registry-1.docker.io/v2'],
    ['ghcr.io', 'https://ghcr.io/v2'],
    ['localhost:5000', 'http://localhost:5000/v2'],
    ['127.0.0.1:5000', 'http://127.0.0.1:5000/v2'],
    ['[::1]:5000', 'http://[::1]:5000/v2'],
    ['localhost', 'http://localhost/v2'],
    ['localhost:443', 'https://localhost/v2'],
    ['localhost.example:5000', 'https://localhost.example:5000/v2'],
  ];
  for (const [registry, url] of defaults)
    void it(`${registry} is at ${url}`, async () => assert.deepEqual(urls(await plan({}, registry)), [url]));

  for (const registry of ['host:99999', '999.999.999.999', '[::::]'])
    void it(`${registry} has the form of a host and is none`, () =>
      assert.rejects(plan({}, registry), (error) => hasCode(error, 'InvalidArgument')));

  void it('a scheme asked for wins; certificates for localhost mean TLS, with a way back', async () => {
    assert.deepEqual(urls(await planHosts('ghcr.io', { roots: [], defaultScheme: 'http' })), [
      'http://ghcr.io/v2',
    ]);
    const { hosts } = await plan({ 'localhost:5000/x.crt': pem }, 'localhost:5000');
    assert.deepEqual([hosts[0]?.origin.protocol, hosts[0]?.plainFallback], ['https:', true]);
  });
});

void describe('a hosts.toml that is no good', () => {
  const wrong: [name: string, text: string, line: number, reason: RegExp][] = [
    ['no TOML', 'server = "https://a"\n[host."x"\n', 2, /./],
    ['a key twice', 'server = "a"\nserver = "b"', 2, /./],
    [
      'an unknown capability',
      '\n[host."https://a"]\n  capabilities = ["pul"]',
      3,
      /"pul".*choose among pull/,
    ],
    [
      'a boolean as text',
      '[host."https://a"]\nca = "x"\n[host."https://b"]\nskip_verify = "yes"',
      4,
      /true or false/,
    ],
    ['a server that is no URL', 'server = "https://a b"', 1, /not the URL/],
    ['a host with credentials', '[host."https://u:p@a"]', 1, /not the URL/],
    [
      'a header that would split the request',
      '[host."https://a"]\n[host."https://a".header]\nX = "a\\r\\nB: c"',
      3,
      /HTTP header/,
    ],
    ['a duration without unit', 'server = "a"\ndial_timeout = "10"', 2, /such as "10s"/],
    ['three files for a client', '[host."https://a"]\nclient = [["a","b","c"]]', 2, /pairs/],
    ['host that is no table', 'host = 1', 1, /must be tables/],
  ];
  for (const [name, text, line, reason] of wrong)
    void it(`${name} is told with its line`, () =>
      assert.throws(
        () => parseHostsToml(text, '/etc/hosts.toml', '/etc'),
        (error) =>
          hasCode(error, 'FailedPrecondition') &&
          (error as Error).message.startsWith(`/etc/hosts.toml:${line}: `) &&
          reason.test((error as Error).message),
      ));
  void it('unknown keys are warned of by name and line', () => {
    const { warnings } = parseHostsToml('[host."https://a"]\nskip-verify = true', 'f', '/');
    assert.deepEqual(warnings, ['f:2: unknown key "skip-verify" is ignored']);
  });
  void it('a file of nothing but unknown keys is read as fast as another', () => {
    const keys = Array.from({ length: 50_000 }, (_, number) => `k${number} = 1`);
    const text = ['[host."http://a"]', ...keys].join('\n');
    const { warnings } = parseHostsToml(text, 'f', '/');
    assert.equal(warnings.length, keys.length);
    assert.equal(warnings.at(-1), 'f:50001: unknown key "k49999" is ignored');
  });
  void it('absent and broken certificates are told by name', async () => {
    await assert.rejects(plan({ 'a/hosts.toml': 'ca = "no.pem"' }, 'a'), /no\.pem, which is not there/);
    await assert.rejects(plan({ 'a/hosts.toml': 'ca = "x"', 'a/x': 'text' }, 'a'), /not a PEM file/);
    await assert.rejects(plan({ 'a/c.cert': pem }, 'a'), /c\.key, which is not there/);
  });
  void it('any text is read or refused with file and line', () => {
    const pieces = fc.constantFrom(
      '[host."https://a"]',
      '\n',
      'server',
      '=',
      '"x"',
      'ca',
      '[',
      ']',
      '1',
      'true',
      '"',
      ' ',
      'header',
      '.',
      'client',
    );
    fc.assert(
      fc.property(
        fc.array(pieces, { maxLength: 20 }).map((parts) => parts.join('')),
        (text) => {
          try {
            parseHostsToml(text, 'f', '/');
          } catch (error) {
            assert.ok(hasCode(error, 'FailedPrecondition'), String(error));
            assert.match((error as Error).message, /^f:\d+: /);
          }
        },
      ),
    );
  });
});
