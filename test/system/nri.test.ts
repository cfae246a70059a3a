/** NRI in the running daemon: a plugin that connects, one that is installed, and the settings. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { testPlugin } from '../../src/testing/nri-plugin.ts';
import { until } from '../../src/testing/until.ts';
import { nriConfig, startContainerd, startGantry } from '../support/daemon.ts';
import { peerBinaries } from '../support/peers.ts';

const fixture = join(import.meta.dirname, '../../src/testing/nri-plugin.ts');

/** Notes its name when it is configured. */
const program = (record: string): string => `#!${process.execPath}
import { appendFileSync } from 'node:fs';
const { testPlugin } = await import(${JSON.stringify(fixture)});
const plugin = testPlugin(Number(process.env.NRI_PLUGIN_SOCKET), {
  configure: async (_ctx, { config, runtimeName }) => {
    appendFileSync(${JSON.stringify(record)}, process.env.NRI_PLUGIN_NAME + config + runtimeName);
    return {};
  },
  synchronize: async () => ({}),
});
await plugin.register('', '');
`;

test('plugins connect or are started, and are told when the daemon stops', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'g-nri-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const record = join(dir, 'record');
  await mkdir(join(dir, 'nri'));
  await mkdir(join(dir, 'nri.d'));
  await writeFile(join(dir, 'nri/10-installed'), program(record));
  await chmod(join(dir, 'nri/10-installed'), 0o755);
  await writeFile(join(dir, 'nri.d/installed.conf'), ' configured by ');
  await using daemon = await startGantry({ config: nriConfig(dir) });
  assert.equal(readFileSync(record, 'utf8'), 'installed configured by containerd');

  const told: string[] = [];
  await using plugin = testPlugin(join(dir, 'nri.sock'), {
    configure: async (_ctx, { NRIVersion }) => {
      told.push(`configure ${NRIVersion}`);
      return {};
    },
    synchronize: async (_ctx, { pods, containers }) => {
      told.push(`synchronize ${pods.length} ${containers.length}`);
      return {};
    },
    shutdown: async () => {
      told.push('shutdown');
      return {};
    },
  });
  await plugin.runtime.registerPlugin({ pluginIdx: '20', pluginName: 'connected' });
  await until('it is there', async () => (await daemon.log()).includes('20-connected'));
  const { failed } = await plugin.runtime.updateContainers({ update: [{ containerId: 'absent' }] });
  assert.equal(failed[0]?.containerId, 'absent');
  await daemon.stop();
  await plugin.closed;
  assert.deepEqual(told, ['configure 0.12.0', 'synchronize 0 0', 'shutdown']);
  assert.equal(existsSync(join(dir, 'nri.sock')), false);
});

test('nobody can connect when the settings say so', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'g-nri-'));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const setting of ['disable = true', 'disable_connections = true']) {
    await using daemon = await startGantry({ config: `${nriConfig(dir)}${setting}\n` });
    assert.ok(daemon.pid > 0);
    assert.equal(existsSync(join(dir, 'nri.sock')), false);
  }
});

const peer = await peerBinaries();
/** Its own NRI, which came with 1.7. */
const noPeer = peer === '/usr/bin' && 'containerd 2 is not unpacked here, and older ones have no NRI';

test("our multiplexing is understood by containerd's NRI", { skip: noPeer }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'g-nri-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const cni = `[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "${dir}/cni"\nconf_dir = "${dir}/cni.d"\n`;
  const config = `${nriConfig(dir)}disable = false\n${cni}`;
  await using _daemon = await startContainerd(peer, { cri: true, nri: true, config });
  const synchronized = Promise.withResolvers<string>();
  await using plugin = testPlugin(join(dir, 'nri.sock'), {
    configure: async (_ctx, { runtimeName }) => {
      assert.equal(runtimeName, 'containerd');
      return {};
    },
    synchronize: async (_ctx, { pods }) => {
      synchronized.resolve(`${pods.length} pods`);
      return {};
    },
  });
  await plugin.register('10', 'ours');
  assert.equal(await synchronized.promise, '0 pods');
  // Larger than the buffer by which the other end reads.
  const update = [{ containerId: 'x'.repeat(100_000), ignoreFailure: true }];
  assert.deepEqual((await plugin.runtime.updateContainers({ update })).failed, []);
});
