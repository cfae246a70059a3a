/**
 * Pulls by unmodified ctr with programs as image verifiers, of ours and of a real containerd: both must do the same.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { buildImage, publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { peerBinaries } from '../support/peers.ts';

const image = buildImage([{ 'etc/x': 'x' }]);
const { digest } = image.descriptor;
const hasPeer = (await peerBinaries()) !== '/usr/bin';

for (const { name, start, skip } of [
  { name: 'gantryd', start: startGantry, skip: false },
  { name: 'containerd', start: startPeer, skip: hasPeer ? false : 'containerd 2 is not installed' },
])
  void describe(`image verifiers of ${name}`, {
    skip: skip || needsRoot('it unpacks layers'),
    timeout: 60_000,
  }, () => {
    let daemon: Daemon;
    let registry: TestRegistry;
    let dir: string;
    let reference: string;

    before(async () => {
      dir = await mkdtemp(join(tmpdir(), 'gantry-verifiers-'));
      registry = await TestRegistry.start({});
      publish(registry.storage, 'a/b', '1', image);
      reference = `${registry.host}/a/b:1`;
      daemon = await start({
        config: `[plugins."io.containerd.image-verifier.v1.bindir"]\nbin_dir = "${dir}/bin"\nmax_verifiers = 2\nper_verifier_timeout = "3s"\n`,
      });
    });
    after(async () => {
      await daemon?.[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    });

    /** What ctr says of a pull with these programs; the image is gone again afterwards. */
    const pull = async (
      scripts: Readonly<Record<string, string>>,
      { mode = 0o755, flags = [] }: { mode?: number; flags?: readonly string[] } = {},
    ): Promise<{ status: number; error: string; blobs: number }> => {
      await rm(join(dir, 'bin'), { recursive: true, force: true });
      await mkdir(join(dir, 'bin'));
      for (const [file, text] of Object.entries(scripts))
        await writeFile(join(dir, 'bin', file), `#!/bin/sh\n${text}\n`, { mode });
      const { status, stderr } = await daemon.ctr.attempt([
        'images',
        'pull',
        '--plain-http',
        ...flags,
        reference,
      ]);
      const blobs = (await daemon.ctr('content', 'ls', '-q')).split('\n').filter((line) => line !== '');
      await daemon.ctr.attempt(['images', 'rm', '--sync', reference]);
      return { status, error: stderr.split('\n').find((line) => line !== '') ?? '', blobs: blobs.length };
    };

    void it('the plugin is there, and transfers require it', async () => {
      assert.match(await daemon.ctr('plugins', 'ls'), /io\.containerd\.image-verifier\.v1 +bindir +- +ok/);
    });

    void it('a program that accepts has seen the image, and the pull goes on', async () => {
      const outcome = await pull({ a: `cat >${dir}/input; echo "$@" >${dir}/arguments` });
      assert.deepEqual([outcome.status, outcome.blobs], [0, 3]);
      assert.equal(
        await readFile(join(dir, 'arguments'), 'utf8'),
        `-name ${reference} -digest ${digest} -stdin-media-type application/vnd.oci.descriptor.v1+json\n`,
      );
      const { mediaType, sizeBytes: size } = image.descriptor;
      assert.equal(
        await readFile(join(dir, 'input'), 'utf8'),
        `${JSON.stringify({ mediaType, digest, size })}\n`,
      );
    });

    void it('one that refuses blocks the pull before anything is stored', async () => {
      const requests = registry.requests.length;
      assert.deepEqual(await pull({ a: 'echo fine', b: 'echo "no way "; echo why >&2; exit 7' }), {
        status: 1,
        error: `ctr: image verifier bindir blocked pull of ${reference} with digest ${digest} for reason: verifier b rejected image (exit code 7): no way`,
        blobs: 0,
      });
      const asked = registry.requests.slice(requests).map(({ path }) => path);
      assert.deepEqual(
        asked.filter((path) => path.includes('/blobs/')),
        [],
      );
    });

    void it('one that cannot be started blocks it too', async () => {
      const { error, blobs } = await pull({ a: '' }, { mode: 0o644 });
      assert.match(
        error,
        new RegExp(
          `^ctr: blocking pull of ${reference} with digest ${digest}: image verifier bindir returned error: failed to call verifier a \\(runtime .*\\): starting process: fork/exec ${dir}/bin/a: permission denied$`,
        ),
      );
      assert.equal(blobs, 0);
    });

    void it('at its time limit it is killed with its children, and the pull is blocked', async () => {
      const { error, blobs } = await pull({ a: `sleep 300 & echo $! >${dir}/child; sleep 300` });
      assert.match(
        error,
        /returned error: failed to call verifier a \(runtime 3.*s\): .*waiting on command to exit: signal: killed$/,
      );
      assert.equal(blobs, 0);
      const child = (await readFile(join(dir, 'child'), 'utf8')).trim();
      await until('the child is gone', () => !existsSync(`/proc/${child}`));
    });

    void it('no more than max_verifiers are asked', async () => {
      assert.equal((await pull({ a: '', b: '', c: 'exit 1' })).status, 0);
    });

    void it('a pull by the client itself is not judged', async () => {
      assert.equal((await pull({ a: 'exit 1' }, { flags: ['--local'] })).status, 0);
    });

    void it('a directory that is not there accepts', async () => {
      assert.equal((await pull({})).status, 0);
      await rm(join(dir, 'bin'), { recursive: true });
      await daemon.ctr('images', 'pull', '--plain-http', reference);
      await daemon.ctr('images', 'rm', '--sync', reference);
    });
  });
