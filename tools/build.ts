/**
 * Makes the bundles of dist/ that the launchers run. Files are renamed into place, so a program that starts meanwhile
 * sees an old bundle or a new one, never half of one. One build at a time: the callers hold dist/.lock (flock).
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build, type Plugin } from 'esbuild';

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

/**
 * Packages of which a bundle takes less than all, for the text of a bundle stays in memory while it runs: what stands
 * here is bundled in place of the package. docs/decisions/0100-memory.md has the figures.
 */
const parts: Readonly<Record<string, string>> = {
  // Its native half is found by path, so it stays a package; asked for by whoever needs it, not by the whole bundle.
  koffi: "module.exports = require('koffi');",
  // src/wire/http/client.ts uses no more of it; the rest is fetch, WebSocket, caches and mocks.
  undici: `Object.assign(require('undici/lib/dispatcher/dispatcher').prototype, require('undici/lib/api'));
    exports.Agent = require('undici/lib/dispatcher/agent');
    exports.ProxyAgent = require('undici/lib/dispatcher/proxy-agent');`,
  // For services described at run time, and for channelz, which we do not serve.
  '@grpc/proto-loader':
    "exports.loadSync = () => { throw new Error('left out of the bundle by tools/build.ts'); };",
};

const partsOfPackages: Plugin = {
  name: 'parts-of-packages',
  setup(bundling) {
    const filter = new RegExp(`^(${Object.keys(parts).join('|')})$`);
    const namespace = 'part';
    bundling.onResolve({ filter }, ({ path: name, importer }) =>
      importer === name ? { path: name, external: true } : { path: name, namespace },
    );
    bundling.onLoad({ filter, namespace }, ({ path: name }) => ({
      contents: parts[name] ?? '',
      resolveDir: root,
    }));
  },
};

/** Node keeps a text with anything else at two bytes a character. Only regular expressions are not escaped by esbuild. */
async function assertAscii(file: string): Promise<void> {
  const found = /.{0,40}[^\0-\x7f].{0,20}/.exec(await readFile(file, 'utf8'))?.[0];
  if (found !== undefined)
    throw new Error(
      `${path.basename(file)} is not ASCII, which doubles its memory: write \\u escapes in ${found}`,
    );
}

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
    // Fetched by a daemon with metrics only; in the bundle its text would be in the memory of all.
    external: ['prom-client'],
    plugins: [partsOfPackages],
    banner: { js: banner },
    legalComments: 'linked',
    // Names stay, for stack traces.
    charset: 'ascii',
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: 'warning',
  });
  const files = await readdir(work);
  for (const name of files.filter((file) => file.endsWith('.js'))) await assertAscii(path.join(work, name));
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
