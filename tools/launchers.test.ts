/** The package as npm installs it: without sources, with Node beside it, started through the links that npm makes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

const root = path.join(import.meta.dirname, '..');
let folder: string;
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'gantry-package-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function run(file: string, args: readonly string[], cwd = root): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, { cwd, encoding: 'utf8' });
  assert.equal(error, undefined);
  assert.equal(status, 0, `${file} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

test('works when it is installed from a package', () => {
  run('npm', ['pack', '--silent', '--pack-destination', folder]);
  const [archive = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  const modules = path.join(folder, 'node_modules');
  mkdirSync(path.join(modules, 'gantry'), { recursive: true });
  mkdirSync(path.join(modules, '.bin'));
  run('tar', [
    '-xzf',
    path.join(folder, archive),
    '--strip-components=1',
    '-C',
    path.join(modules, 'gantry'),
  ]);
  assert.equal(existsSync(path.join(modules, 'gantry/src')), false);
  for (const name of [`node-linux-${process.arch}`, 'koffi', '@koromix'])
    symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));
  for (const [program, flag] of [
    ['gantryd', '--version'],
    ['gantry', '--version'],
    ['containerd-shim-gantry-v1', '-v'],
  ] as const) {
    const link = path.join(modules, '.bin', program);
    symlinkSync(`../gantry/bin/${program}`, link);
    assert.match(run(link, [flag], '/'), /\d+\.\d+\.\d+/, program);
  }
});

test('starts at once build once, and all of them run', () => {
  // A checkout of its own, because other tests start the launchers of ours at the same time.
  const checkout = path.join(folder, 'checkout');
  mkdirSync(path.join(checkout, 'tools'), { recursive: true });
  for (const name of ['bin', 'src', 'package.json', 'package-lock.json', 'tools/build.ts'])
    run('cp', ['-r', path.join(root, name), path.join(checkout, name)]);
  symlinkSync(path.join(root, 'node_modules'), path.join(checkout, 'node_modules'));
  const version = run('bin/gantryd', ['--version']);
  const starts = 'for i in 1 2 3 4 5 6; do bin/gantryd --version & done; wait';
  assert.equal(run('sh', ['-c', starts], checkout), version.repeat(6));
  const made = readdirSync(path.join(checkout, 'dist'));
  assert.ok(made.includes('gantryd.js'));
  assert.deepEqual(
    made.filter((name) => name.startsWith('.build-')),
    [],
  );
});

test('says what to do when Node is not there', () => {
  const lonely = path.join(folder, 'lonely');
  mkdirSync(lonely);
  run('cp', ['-r', path.join(root, 'bin'), lonely]);
  const { status, stderr } = spawnSync(path.join(lonely, 'bin/gantry'), ['--version'], {
    encoding: 'utf8',
    cwd: '/',
  });
  // Packages above the folder count too, as they do for Node; there are none above a temporary folder but our own.
  assert.equal(status, 1);
  assert.match(
    stderr,
    /gantry: .*(is not installed below or above .*npm ci|is missing: install the package again)/,
  );
});
