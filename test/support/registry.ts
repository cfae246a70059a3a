/** Debian's docker-registry on loopback with a private store, filled with the sample images by skopeo. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../src/testing/until.ts';
import { run } from './run.ts';
import { ensureSampleImages, sampleTags } from './sample-images.ts';

export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Reference of a sample image here. */
  reference(tag: (typeof sampleTags)[number]): string;
}

export async function startRegistry(
  tags: readonly (typeof sampleTags)[number][] = sampleTags,
): Promise<Registry> {
  const layout = await ensureSampleImages();
  const dir = await mkdtemp(join(tmpdir(), 'gantry-registry-'));
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const config = join(dir, 'config.yml');
  await writeFile(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${dir}/data}, delete: {enabled: true}}\nhttp: {addr: "${host}"}\n`,
  );
  const server = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    server.kill('SIGKILL');
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await until('the registry answers', async () => (await fetch(`http://${host}/v2/`)).ok);
    for (const tag of tags)
      await run('skopeo', [
        'copy',
        '--quiet',
        '--dest-tls-verify=false',
        `oci:${layout}:${tag}`,
        `docker://${host}/sample/${tag}:latest`,
      ]);
  } catch (error) {
    await stop();
    throw error;
  }
  return { host, reference: (tag) => `${host}/sample/${tag}:latest`, [Symbol.asyncDispose]: stop };
}

/** A TCP port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() =>
        typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
