import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { parse } from 'smol-toml';
import { hasCode } from '../../base/errors.ts';
import { printDefaults, printEffective, printMigrated } from '../commands/config.ts';
import { Configuration } from './daemon-config.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'gantry-config-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const at = path.join(folder, name);
  mkdirSync(path.dirname(at), { recursive: true });
  writeFileSync(at, text);
  return at;
}

const load = (text: string): Configuration => new Configuration({ config: file('config.toml', text) });
const gc = { type: 'io.containerd.gc.v1', id: 'scheduler' } as const;

function refused(text: string, message: RegExp): void {
  assert.throws(
    () => load(text),
    (error) => {
      assert.ok(error instanceof Error && hasCode(error, 'InvalidArgument'), String(error));
      assert.match(error.message, message);
      return true;
    },
  );
}

describe('versions', () => {
  it('4: listeners are plugins', () => {
    const config = load(
      "version = 4\nroot = '/a'\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/x.sock'",
    );
    assert.equal(config.address, '/run/x.sock');
    assert.equal(config.daemon.rootDir, '/a');
    assert.deepEqual(config.notes, []);
  });

  it('3 and 2: the address is in [grpc]', () => {
    for (const version of [3, 2]) {
      const config = load(
        `version = ${version}\n[grpc]\naddress = '/run/x.sock'\nuid = 5\n[debug]\nlevel = 'debug'`,
      );
      assert.equal(config.address, '/run/x.sock');
      assert.equal(config.daemon.logLevel, 'debug');
      assert.equal(config.tableOf({ type: 'io.containerd.server.v1', id: 'grpc' }).integer('uid', 0), 5);
      assert.match(config.notes[0] ?? '', new RegExp(`has version ${version}`));
    }
  });

  it('1, also when nothing says so: plugins have short names', () => {
    for (const head of ['version = 1\n', '']) {
      const config = load(
        `${head}disabled_plugins = ["cri", "btrfs"]\n[plugins.scheduler]\npause_threshold = 0.1`,
      );
      assert.deepEqual(config.daemon.disabledPlugins, [
        'io.containerd.grpc.v1.cri',
        'io.containerd.cri.v1.images',
        'io.containerd.cri.v1.runtime',
        'io.containerd.snapshotter.v1.btrfs',
      ]);
      assert.equal(config.tableOf(gc).number('pause_threshold', 0), 0.1);
    }
  });

  it('others are refused', () => {
    refused('version = 5', /config\.toml: version: must be a number from 1 to 4, not 5/);
    refused('version = "2"', /version: must be a number/);
  });

  it('divides the settings of CRI', () => {
    const at = file(
      'config.toml',
      `version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "pause:1"
stream_server_port = "10"
enable_selinux = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
snapshotter = "blockfile"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/certs"
`,
    );
    // Tables of the parser have no prototype.
    assert.deepEqual(structuredClone(parse(printMigrated({ config: at }))), {
      version: 4,
      plugins: {
        'io.containerd.grpc.v1.cri': { stream_server_port: '10' },
        'io.containerd.cri.v1.images': {
          pinned_images: { sandbox: 'pause:1' },
          snapshotter: 'native',
          runtime_platforms: { kata: { snapshotter: 'blockfile' } },
          registry: { config_path: '/certs' },
        },
        'io.containerd.cri.v1.runtime': {
          enable_selinux: true,
          containerd: {
            default_runtime_name: 'runc',
            runtimes: { kata: { runtime_type: 'io.containerd.kata.v2', snapshotter: 'blockfile' } },
          },
        },
      },
    });
  });
});

describe('imports', () => {
  it('merges by glob: later scalars win, lists are appended, tables merged', () => {
    file('conf.d/20.toml', "version = 3\nroot = '/second'\ndisabled_plugins = ['c']");
    file(
      'conf.d/10.toml',
      "version = 4\nroot = '/first'\n[plugins.'io.containerd.gc.v1.scheduler']\nmutation_threshold = 7",
    );
    const config = load(
      `version = 4
root = '/main'
state = '/state'
imports = ['conf.d/*.toml', 'none/*.toml']
disabled_plugins = ['a']
[plugins.'io.containerd.gc.v1.scheduler']
pause_threshold = 0.1`,
    );
    assert.equal(config.daemon.rootDir, '/second');
    assert.equal(config.daemon.stateDir, '/state');
    assert.deepEqual(config.daemon.disabledPlugins, ['a', 'c']);
    assert.equal(config.files.length, 3);
    const table = config.tableOf(gc);
    assert.equal(table.number('pause_threshold', 0), 0.1);
    assert.equal(table.integer('mutation_threshold', 0), 7);
  });

  it('a key __proto__ is a key, and unknown', () => {
    const config = load(`version = 4\n[__proto__]\nroot = '/x'\n[plugins.__proto__]\nx = 1`);
    assert.equal(config.daemon.rootDir, '/var/lib/gantry');
    assert.equal(Object.getPrototypeOf(config.document), Object.prototype);
    assert.ok(config.warnings().some((warning) => warning.includes('__proto__')));
  });

  it('names the file that a wrong value came from', () => {
    const other = file(
      'other.toml',
      "version = 4\n[plugins.'io.containerd.gc.v1.scheduler']\npause_threshold = 'much'",
    );
    const config = load(
      `version = 4\nimports = ['other.toml']\n[plugins.'io.containerd.gc.v1.scheduler']\ndeletion_threshold = 1`,
    );
    assert.throws(
      () => config.tableOf(gc).number('pause_threshold', 0),
      new RegExp(
        `^ContainerdError: ${other}: plugins\\.'io\\.containerd\\.gc\\.v1\\.scheduler'\\.pause_threshold: must be a number`,
      ),
    );
  });

  it('ends when files import each other, and refuses one that is not there', () => {
    file('other.toml', "version = 4\nimports = ['config.toml']");
    assert.equal(load("version = 4\nimports = ['other.toml']").files.length, 2);
    assert.throws(
      () => load("version = 4\nimports = ['absent.toml']"),
      (error) => hasCode(error, 'NotFound'),
    );
  });
});

describe('refusals', () => {
  it('names file, place and reason of what is no TOML', () => {
    refused('version = 4\nroot = ', /config\.toml: line 2, column \d+: .+/);
  });

  it('names file, key and reason of a wrong value', () => {
    refused('version = 4\nroot = 5', /config\.toml: root: must be a string, not 5/);
    refused('version = 4\noom_score = "low"', /config\.toml: oom_score: must be an integer/);
    refused(
      "version = 4\n[debug]\nlevel = 'loud'",
      /config\.toml: debug\.level: must be one of trace, .*"loud"/,
    );
    refused(
      "version = 4\n[timeouts]\n'io.containerd.timeout.shim.load' = 5",
      /timeouts\..*must be a duration/,
    );
    refused("version = 4\nroot = 'here'", /root: must be an absolute path, not "here"/);
    refused("version = 4\nroot = '/a'\nstate = '/a'", /root and state must be different/);
  });

  it('takes time-outs by the names of containerd, and its own by either prefix; warns of unknown ones', () => {
    const config = load(
      "version = 4\n[timeouts]\n'io.containerd.timeout.task.state' = '7s'\n'io.gantry.timeout.task.delete' = '1m'\n" +
        "'io.containerd.timeout.bolt.open' = '0s'\n'io.containerd.timeout.tasks' = '1s'",
    );
    const { timeoutsMs } = config.daemon;
    assert.deepEqual([timeoutsMs.get('task.state'), timeoutsMs.get('task.delete')], [7_000, 60_000]);
    assert.deepEqual(config.warnings(), ["unknown key timeouts.'io.containerd.timeout.tasks' is ignored"]);
  });

  it('shares the shim with all unless it is told otherwise', () => {
    assert.equal(load('version = 4').daemon.shimSharing, 'node');
    assert.equal(load("version = 4\n[shim]\nsharing = 'pod'").daemon.shimSharing, 'pod');
    refused("version = 4\n[shim]\nsharing = 'all'", /shim\.sharing: must be one of node, pod, container/);
  });

  it('wants a file that was asked for', () => {
    assert.throws(
      () => new Configuration({ config: path.join(folder, 'absent.toml') }),
      (error) => hasCode(error, 'NotFound'),
    );
  });
});

describe('the command line', () => {
  it('wins over the file', () => {
    const config = new Configuration({
      config: file('config.toml', "version = 2\nroot = '/file'\n[grpc]\naddress = '/file.sock'"),
      root: '/flag',
      address: 'unix:///flag.sock',
      logLevel: 'warn',
    });
    assert.equal(config.daemon.rootDir, '/flag');
    assert.equal(config.address, '/flag.sock');
    assert.equal(config.daemon.logLevel, 'warn');
  });

  it('is checked too', () => {
    assert.throws(() => new Configuration({ logLevel: 'loud' }), /--log-level: must be one of/);
  });
});

it('warns of what nothing reads, once and by name', () => {
  const config = load(
    `version = 4
colour = 'red'
[plugins.'io.containerd.gc.v1.scheduler']
pause = 1
[plugins.'io.containerd.none.v1.x']
a = 1`,
  );
  config.tableOf(gc).number('pause_threshold', 0);
  assert.deepEqual(config.warnings(), [
    'unknown key colour is ignored',
    "unknown key plugins.'io.containerd.gc.v1.scheduler'.pause is ignored",
    "plugins.'io.containerd.none.v1.x' is ignored: this build has no such plugin",
  ]);
});

it('prints defaults that read back as the defaults', () => {
  const text = printDefaults();
  const config = load(text);
  assert.deepEqual(config.notes, []);
  assert.equal(printEffective({ config: file('config.toml', text) }), text);
  assert.equal(config.address, '/run/gantry/gantry.sock');
});
