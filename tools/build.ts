/**
 * Makes the bundles of dist/ that the launchers run. Files are renamed into place, so a program that starts meanwhile
 * sees an old bundle or a new one, never half of one. One build at a time: the callers hold dist/.lock (flock).
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const root = path.join(import.meta.dirname, '..');
const dist = path.join(root, 'dist');

/** Bundle name to its entry. A worker is a bundle of its own because it is loaded by path. */
const entries: Readonly<Record<string, string>> = {
  gantryd: 'src/daemon/main.ts',
  gantry: 'src/cli/main.ts',
  'containerd-shim-gantry-v1': 'src/shim/main.ts',
  'apply-worker': 'src/core/diff/apply-worker.ts',
};

// Dependencies in CommonJS call require(); an ES module has none unless it makes one.
const banner = `import { createRequire as gantryRequire } from 'node:module';
const require = gantryRequire(import.meta.url);`;

const startedAt = new Date();
await mkdir(dist, { recursive: true });
const work = await mkdtemp(path.join(dist, '.build-'));
try {
  const found = Object.entries(entries).filter(([, entry]) => existsSync(path.join(root, entry)));
  await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(found),
    outdir: work,
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'esm',
    sourcemap: 'linked',
    sourcesContent: false,
    // Loads its native half by path, so it stays a package.
    external: ['koffi'],
    banner: { js: banner },
    legalComments: 'linked',
    minifySyntax: true,
    logLevel: 'warning',
  });
  const files = await readdir(work);
  // Maps first: a bundle never points at a map that is not there yet.
  for (const name of files.toSorted((a, b) => Number(b.endsWith('.map')) - Number(a.endsWith('.map'))))
    await rename(path.join(work, name), path.join(dist, name));
  const stamp = path.join(work, 'stamp');
  await writeFile(stamp, '');
  await utimes(stamp, startedAt, startedAt);
  await rename(stamp, path.join(dist, '.built'));
} catch (error) {
  // esbuild has said by itself what is wrong with the sources.
  if (!(error instanceof Error && 'errors' in error)) throw error;
  process.exitCode = 1;
} finally {
  await rm(work, { recursive: true, force: true });
}
