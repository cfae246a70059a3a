/** Imports go downwards only and never in a circle; what belongs to one owner is imported nowhere else. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { layers, layerTable } from './layers.ts';
import { importsOf, isTestFile, layerOf, root, type SourceFile, sourceFiles } from './source-files.ts';

interface OwnerRule {
  readonly modules: readonly string[];
  readonly owner: (file: string) => boolean;
  readonly instead: string;
}

const within =
  (...folders: readonly string[]) =>
  (file: string): boolean =>
    folders.some((folder) => file.startsWith(folder));

const owners: readonly OwnerRule[] = [
  {
    modules: ['koffi', 'node:child_process'],
    owner: within('src/platform/'),
    instead: 'ask the Platform (src/platform/platform.ts), and give it a new call if it lacks one',
  },
  {
    modules: [
      'node:net',
      'node:http',
      'node:https',
      'node:http2',
      'node:tls',
      'node:dgram',
      'undici',
      '@grpc/grpc-js',
    ],
    owner: within('src/wire/'),
    instead: 'use what src/wire gives: listeners, connections, the HTTP client',
  },
  {
    modules: ['node:sqlite'],
    owner: within('src/core/metadata/database.ts'),
    instead: 'go through Database (src/core/metadata/database.ts)',
  },
];

const report = (problems: readonly string[]): void => {
  assert.equal(problems.length, 0, `\n${problems.join('\n')}\n`);
};

test('imports go downwards', () => {
  const problems: string[] = [];
  for (const { file, imports } of sourceFiles) {
    const layer = layerOf(file);
    if (layer === undefined) continue;
    const rule = layers[layer];
    assert.ok(rule, `${file}: ${layer} is no layer; ARCHITECTURE.md names them`);
    for (const imported of imports) {
      const target = imported.file === undefined ? undefined : layerOf(imported.file);
      if (target === undefined || target === layer || rule.may.includes(target)) continue;
      if (imported.typeOnly && rule.types?.includes(target) === true) continue;
      if (isTestFile(file) && ['testing', 'platform'].includes(target)) continue;
      problems.push(`${file}:${imported.line}: ${layer} must not import ${target}: ${rule.instead}`);
    }
  }
  report(problems);
});

test('ARCHITECTURE.md draws the layers as they are', () => {
  const text = readFileSync(path.join(root, 'ARCHITECTURE.md'), 'utf8');
  assert.deepEqual(
    text.split('\n').filter((line) => Object.keys(layers).some((layer) => line.startsWith(`| ${layer} |`))),
    layerTable(),
    'the table of layers is not that of tools/tidy/layers.ts',
  );
  assert.deepEqual(
    drawnArrows(text).filter(([from, to]) => layers[from]?.may.includes(to) !== true),
    [],
    'an arrow of the drawing leads where no import may',
  );
});

test('only tests import testing, and only tests are imported by nothing else', () => {
  const problems: string[] = [];
  for (const { file, imports } of sourceFiles)
    for (const imported of imports)
      if (imported.file !== undefined && !isTestFile(file) && isTestFile(imported.file))
        problems.push(
          `${file}:${imported.line}: ${imported.file} is for tests: move what the product needs out of it`,
        );
  report(problems);
});

test('src imports nothing of test', () => {
  const problems = sourceFiles.flatMap(({ file, imports }) =>
    imports
      .filter((imported) => file.startsWith('src/') && /^(?:test|tools|bench)\//.test(imported.file ?? ''))
      .map(
        ({ line }) =>
          `${file}:${line}: a test of the whole system: move it to test/system, or its helper to src/testing`,
      ),
  );
  report(problems);
});

test('FFI, child processes, sockets and SQL have one owner each', () => {
  const problems: string[] = [];
  for (const { file, imports } of sourceFiles) {
    if (isTestFile(file)) continue;
    for (const { specifier, line, typeOnly } of imports)
      for (const { modules, owner, instead } of owners)
        if (modules.includes(specifier) && !typeOnly && !owner(file))
          problems.push(`${file}:${line}: ${specifier} has another owner: ${instead}`);
  }
  report(problems);
});

test('the list of plugins is known to the daemon only', () => {
  const problems = sourceFiles.flatMap(({ file, imports }) =>
    imports
      .filter((imported) => imported.file === 'src/daemon/builtins.ts' && layerOf(file) !== 'daemon')
      .map(({ line }) => `${file}:${line}: builtins name implementations: ask for a contract instead`),
  );
  report(problems);
});

test('no import goes in a circle', () => {
  const byName = new Map(sourceFiles.map((source) => [source.file, source]));
  const problems = circles(byName).map(
    (circle) => `${circle.join(' -> ')}: move what both need into a file of its own`,
  );
  report(problems);
});

test('a circle is found', () => {
  const files: readonly (readonly [string, string])[] = [
    ['src/a.ts', "import { b } from './b.ts';"],
    ['src/b.ts', "import type { c } from './c.ts';\nexport { c } from './c.ts';"],
    ['src/c.ts', "import { a } from './a.ts';"],
    ['src/d.ts', "import { a } from './a.ts';"],
  ];
  const byName = new Map(
    files.map(([file, text]) => [file, { file, text, lines: [], imports: importsOf(file, text) }]),
  );
  assert.deepEqual(circles(byName), [['src/a.ts', 'src/b.ts', 'src/c.ts', 'src/a.ts']]);
});

/** Circles of imports that are there at run time, each once. */
function circles(files: ReadonlyMap<string, SourceFile>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) {
      found.push([...trail.slice(trail.indexOf(file)), file]);
      return;
    }
    if (done.has(file)) return;
    for (const imported of files.get(file)?.imports ?? [])
      if (!imported.typeOnly && imported.file !== undefined) visit(imported.file, [...trail, file]);
    done.add(file);
  };
  for (const file of files.keys()) visit(file, []);
  return found;
}

/** `a ─► b, c ─► d` in the drawing: each of a group to each of the next, for names of layers. */
function drawnArrows(text: string): (readonly [string, string])[] {
  const drawing = text.split('```')[1] ?? '';
  const groups = drawing
    .split('\n')
    .map((line) => line.split('─►').map((part) => part.split(/[^a-z]+/).filter((word) => word in layers)));
  return groups.flatMap((line) =>
    line.slice(1).flatMap((group, index) => {
      const before = line[index] ?? [];
      return before.flatMap((from) => group.map((to) => [from, to] as const));
    }),
  );
}
