/** config.toml of all versions: carried to the newest, printed and read again, and read by the daemon. */
import assert from 'node:assert/strict';
import { stringify } from 'smol-toml';
import { TomlConfigTable, type TomlRecord } from '../../../src/core/plugins/config-table.ts';
import { Configuration } from '../../../src/daemon/config/daemon-config.ts';
import { merge, parseDocument } from '../../../src/daemon/config/load.ts';
import { currentVersion } from '../../../src/daemon/config/migrate.ts';
import { type FuzzTarget, mustTake, textOf } from '../fuzz-target.ts';

const file = '/etc/gantry/config.toml';

function configurationOf(document: TomlRecord, oldestVersion: number): Configuration {
  const table = new TomlConfigTable(document, { path: '', fileOf: () => file });
  return new Configuration({}, { document, files: [file], oldestVersion, notes: [], table });
}

export const config: FuzzTarget = {
  name: 'config',
  seeds: [
    'version = 4\nroot = "/r"\nstate = "/s"\noom_score = -999\n[debug]\nlevel = "debug"\n[timeouts]\n"io.containerd.timeout.shim.load" = "5s"\n',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "x"\nstream_idle_timeout = "4h"\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nsnapshotter = "native"\n',
    '[grpc]\naddress = "/a"\nuid = 1\n[plugins.cri]\ndisable_tcp_service = true\n[metrics]\naddress = "127.0.0.1:1"\n',
    'version = 3\ndisabled_plugins = ["a", "b"]\nimports = []\n[plugins.x]\nd = 1979-05-27T07:32:00Z\nf = 1e3\nl = [[1], {a = 2}]\n',
  ],
  hostile: [
    '[__proto__]\nx = 1\n',
    '[plugins.__proto__.runtimes.x]\nsnapshotter = "y"\n',
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.__proto__]\nsnapshotter = "y"\n',
    `a = ${'['.repeat(5000)}`,
    `a = ${'{a='.repeat(2000)}`,
    'version = [1]',
    'plugins = 1979-05-27',
    'timeouts = []',
    `[timeouts]\n"io.containerd.timeout.shim.load" = "${'9'.repeat(400)}h"\n`,
  ],
  words: [
    'version = 1\n',
    'version = 2\n',
    '[plugins.',
    '[[',
    ']]\n',
    '"""',
    "'''",
    '[debug]\n',
    'cri',
    'true',
    '1979-05-27',
    'inf',
    '0x',
    '__proto__ = 1\n',
  ],
  refusals: ['InvalidArgument'],
  check(input) {
    const { document: migrated, from } = parseDocument(textOf(input), file);
    const document: TomlRecord = { version: currentVersion };
    merge(document, migrated, { file, path: '', origins: new Map() });
    assert.equal(Object.getPrototypeOf(document), Object.prototype, 'a key became the prototype');
    assert.deepEqual(Object.keys(document).toSorted(), Object.keys(migrated).toSorted(), 'a key is lost');
    const printed = stringify(document);
    const again = mustTake('what was printed', () => parseDocument(printed, file));
    assert.equal(again.from, currentVersion);
    assert.equal(stringify(again.document), printed);
    const { daemon } = configurationOf(document, from);
    for (const [name, ms] of daemon.timeoutsMs) assert.ok(Number.isFinite(ms), `${name} is ${ms}`);
  },
};
