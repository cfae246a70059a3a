import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parse, stringify } from 'smol-toml';
import { hasCode } from '../../base/errors.ts';
import { TomlConfigTable, type TomlRecord } from '../../core/plugins/config-table.ts';
import type { ConfigTable } from '../../core/plugins/plugin.ts';
import { unpackAny } from '../../wire/any.ts';
import { OptionsSchema } from '../../wire/gen/containerd/types/runc/options/oci_pb.js';
import { readCriImages, readCriRuntime, readCriStreaming } from './cri-config.ts';

const tableOf = (text: string): TomlConfigTable =>
  new TomlConfigTable(parse(text) as TomlRecord, { path: 'plugins.cri', fileOf: () => 'config.toml' });

void describe('settings of the CRI', () => {
  void it('images by default as containerd has them', () => {
    assert.deepEqual(readCriImages(tableOf('')), {
      snapshotter: 'overlayfs',
      snapshotters: new Map(),
      maxConcurrentDownloads: 3,
      pullProgressTimeoutMs: 300_000,
      statsPeriodMs: 10_000,
      sandboxImage: 'registry.k8s.io/pause:3.10',
      registryConfigPath: '',
    });
  });

  void it('runc is there by default, and beside others', () => {
    const settings = readCriRuntime(tableOf(''));
    assert.equal(settings.defaultHandler, 'runc');
    assert.deepEqual([...settings.handlers.keys()], ['runc']);
    assert.equal(settings.handlers.get('runc')?.type, 'io.containerd.runc.v2');
    assert.equal(settings.handlers.get('runc')?.systemdCgroup, false);
    assert.deepEqual(settings.cni, {
      confDir: '/etc/cni/net.d',
      binDirs: ['/usr/lib/cni', '/opt/cni/bin'],
      maxConfNum: 1,
    });
    const more = readCriRuntime(
      tableOf('[containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"'),
    );
    assert.deepEqual([...more.handlers.keys()], ['runc', 'kata']);
    assert.equal(more.handlers.get('kata')?.options, undefined);
    assert.equal(more.handlers.get('kata')?.systemdCgroup, undefined);
  });

  void it('options of runc become the message that its shim takes', () => {
    const { handlers } = readCriRuntime(
      tableOf('[containerd.runtimes.runc.options]\nBinaryName = "/x/runc"\nSystemdCgroup = true\nIoUid = 7'),
    );
    const runc = handlers.get('runc');
    assert.equal(runc?.systemdCgroup, true);
    const options = unpackAny(OptionsSchema, runc.options ?? assert.fail());
    assert.deepEqual([options.binaryName, options.systemdCgroup, options.ioUid], ['/x/runc', true, 7]);
  });

  void it('the image of pods is completed as Docker does; "" is none', () => {
    const sandboxOf = (text: string) =>
      readCriImages(tableOf(`[pinned_images]\nsandbox = "${text}"`)).sandboxImage;
    assert.equal(sandboxOf('pause'), 'docker.io/library/pause:latest');
    assert.equal(sandboxOf(''), '');
  });

  void it('one directory of CNI plugins stands for the list', () => {
    assert.deepEqual(readCriRuntime(tableOf('[cni]\nbin_dir = "/a"')).cni.binDirs, ['/a']);
  });

  void it('what is in force can be read again', () => {
    for (const text of ['', '[cni]\nbin_dir = "/a"', '[runtime_platforms.kata]\nsnapshotter = "native"'])
      for (const read of [readCriImages, readCriRuntime]) {
        const table = tableOf(text);
        const settings = read(table);
        assert.deepEqual(read(tableOf(stringify(table.effective()))), settings);
      }
  });

  void it('the streaming server listens on the loopback by default, and its port is text', () => {
    const settings = readCriStreaming(tableOf(''));
    assert.deepEqual([settings.host, settings.port], ['127.0.0.1', 0]);
    assert.equal(readCriStreaming(tableOf('stream_server_port = "10010"')).port, 10_010);
    for (const text of ['http', '65536', '-1', ''])
      assert.throws(
        () => readCriStreaming(tableOf(`stream_server_port = "${text}"`)),
        /stream_server_port: must be a port as text/,
      );
  });

  void it('a snapshotter for each handler, as older configurations are migrated', () => {
    const { snapshotters } = readCriImages(tableOf('[runtime_platforms.kata]\nsnapshotter = "native"'));
    assert.deepEqual([...snapshotters], [['kata', 'native']]);
  });

  void it('what is not read can be named', () => {
    const table = tableOf('enable_selinux = true\n[cni]\nip_pref = "ipv6"\nbin_path = "/x"');
    readCriRuntime(table);
    assert.deepEqual(table.unreadKeys(), ['enable_selinux', 'cni.bin_path']);
  });

  const refusals: readonly (readonly [(table: ConfigTable) => unknown, string, RegExp])[] = [
    [readCriImages, 'snapshotter = 7', /cri\.snapshotter: must be a string/],
    [readCriImages, 'snapshotter = ""', /cri\.snapshotter: must be set/],
    [readCriImages, 'max_concurrent_downloads = 0', /max_concurrent_downloads: must be 1 or more/],
    [readCriImages, 'stats_collect_period = 0', /stats_collect_period: must be 1 or more/],
    [
      readCriImages,
      'image_pull_progress_timeout = "soon"',
      /image_pull_progress_timeout: must be a duration/,
    ],
    [
      readCriImages,
      'image_pull_progress_timeout = "-1s"',
      /image_pull_progress_timeout: must not be negative/,
    ],
    [readCriImages, '[pinned_images]\nsandbox = "a/B"', /pinned_images\.sandbox: .*lower case/],
    [readCriImages, '[registry]\nconfig_path = "/a:b"', /registry\.config_path: must be absolute paths/],
    [
      readCriRuntime,
      '[containerd]\ndefault_runtime_name = "kata"',
      /must be one of runtimes, which are runc/,
    ],
    [readCriRuntime, '[containerd.runtimes.kata]\nsnapshotter = "x"', /kata\.runtime_type: must be set/],
    [
      readCriRuntime,
      '[containerd.runtimes.runc]\nruntime_path = "x"',
      /runc\.runtime_path: must be an absolute/,
    ],
    [readCriRuntime, '[containerd.runtimes.runc]\nsandboxer = ""', /runc\.sandboxer: must be set/],
    [
      readCriRuntime,
      '[containerd.runtimes.runc.options]\nSystemdCgroup = "yes"',
      /options\.SystemdCgroup: must be true or false/,
    ],
    [readCriRuntime, '[cni]\nconf_dir = "net.d"', /cni\.conf_dir: must be an absolute path/],
    [readCriRuntime, '[cni]\nconf_dir = ""', /cni\.conf_dir: must not be empty/],
    [readCriRuntime, '[cni]\nbin_dirs = ["/a", "b"]', /cni\.bin_dirs: must be absolute paths/],
    [readCriRuntime, '[cni]\nbin_dir = "/a"\nbin_dirs = ["/b"]', /cni\.bin_dir: cannot be set beside/],
    [readCriRuntime, '[cni]\nmax_conf_num = -1', /cni\.max_conf_num: must be 0 or more/],
  ];
  for (const [read, text, reason] of refusals)
    void it(`refused: ${text.replaceAll('\n', ' ')}`, () => {
      assert.throws(
        () => read(tableOf(text)),
        (error) => hasCode(error, 'InvalidArgument') && reason.test(String(error)),
      );
    });
});
