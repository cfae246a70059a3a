/** What the house's style asks of every file and the linter does not see. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { isTestFile, root, sourceFiles } from './source-files.ts';

const maxLines = 400;
/** Files that were longer when the rule came, with their lines then. The list only shrinks. */
const longFiles: Readonly<Record<string, number>> = {
  'src/core/registry/registry-client.test.ts': 421,
  'test/system/shim-adoption.test.ts': 532,
};

const report = (problems: readonly string[]): void => {
  assert.equal(problems.length, 0, `\n${problems.join('\n')}\n`);
};

/** Lines of code (no comments) that match, as `file:line: sentence`. */
const findLines = (pattern: RegExp, sentence: string): string[] =>
  sourceFiles.flatMap(({ file, lines }) =>
    lines.flatMap((line, index) =>
      pattern.test(line) && !/^\s*(?:\/\/|\/?\*)/.test(line) ? [`${file}:${index + 1}: ${sentence}`] : [],
    ),
  );

test('no default exports', () => {
  report(findLines(/^export default\b|^export \{[^}]*\bas default\b/, 'export it by name'));
});

test('erasable TypeScript only', () => {
  report([
    ...findLines(
      /^\s*(?:export\s+)?(?:const\s+)?enum\s+\w+\s*\{/,
      'use a union of strings instead of an enum',
    ),
    ...findLines(
      /^\s*(?:export\s+)?(?:declare\s+)?namespace\s+\w+\s*\{/,
      'use a module instead of a namespace',
    ),
  ]);
});

test('every file says what it is for', () => {
  report(
    sourceFiles
      .filter(({ file, text }) => !file.endsWith('.test.ts') && !/^(?:#!.*\n)?\s*(?:\/\*\*|\/\/)/.test(text))
      .map(({ file }) => `${file}:1: begin with a comment that says what the file is for`),
  );
});

test('file names are kebab-case', () => {
  report(
    sourceFiles
      .filter(
        ({ file }) =>
          !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/)*[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z-]+)?\.ts$/.test(file),
      )
      .map(({ file }) => `${file}: name it in kebab-case, noun first`),
  );
});

const kinds = ['test', 'suite', 'fixture', 'worker', 'bench', 'fuzz'];

test('the ending of a name says what a file is for', () => {
  report(
    sourceFiles.flatMap(({ file, text }) => {
      const kind = /\.([a-z-]+)\.ts$/.exec(file)?.[1];
      if (kind === undefined) return [];
      if (!kinds.includes(kind))
        return [`${file}: endings are ${kinds.map((one) => `.${one}.ts`).join(', ')}`];
      return kind === 'suite' && !/^\s*(?:void )?(?:test|it|describe)\(/m.test(text)
        ? [`${file}: a suite holds the tests of a contract: call what tests stand on .fixture.ts`]
        : [];
    }),
  );
});

/** `until` asks again after a moment; the kill points are moments that the seed chose. */
const sleepers = ['src/testing/until.ts', 'test/kill-points/kill-points.ts'];

test('tests do not sleep', () => {
  report(
    sourceFiles
      .filter(({ file }) => isTestFile(file) && !sleepers.includes(file) && !file.startsWith('tools/tidy/'))
      .flatMap(({ file, lines }) =>
        lines.flatMap((line, index) =>
          /await\s+(?:sleep|delay|setTimeout|pause|wait|after)\(/.test(line)
            ? [`${file}:${index + 1}: wait for the condition, not for time`]
            : [],
        ),
      ),
  );
});

test('files stay short', () => {
  report(
    sourceFiles.flatMap(({ file, lines }) => {
      const known = longFiles[file];
      if (known === undefined)
        return lines.length > maxLines
          ? [`${file} has ${lines.length} lines: move what is a matter of its own past ${maxLines}`]
          : [];
      if (lines.length > known)
        return [`${file} has grown from ${known} to ${lines.length} lines: it may only shrink`];
      return lines.length <= maxLines ? [`${file} is short now: take it off the list of long files`] : [];
    }),
  );
  report(
    Object.keys(longFiles)
      .filter((file) => !sourceFiles.some((source) => source.file === file))
      .map((file) => `${file} is gone: take it off the list of long files`),
  );
});

test('errors are made by their words', () => {
  report(
    findLines(/new ContainerdError\(/, 'use the words of src/base/errors.ts').filter(
      (problem) => !isTestFile(problem.split(':')[0] ?? '') && !problem.startsWith('src/base/errors.ts:'),
    ),
  );
});

const documents = globSync(['*.md', 'docs/**/*.md', 'src/**/*.md'], { cwd: root }).toSorted();

test('links of the documents lead somewhere', () => {
  const problems = documents.flatMap((file) => {
    const text = readFileSync(path.join(root, file), 'utf8');
    return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target.replace(/#.*$/, ''))
      .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
      .filter((target) => !existsSync(path.join(root, path.dirname(file), target)))
      .map((target) => `${file}: ${target} does not exist`);
  });
  report(problems);
});

test('files that the documents name in code exist', () => {
  const problems = documents.flatMap((file) => {
    const text = readFileSync(path.join(root, file), 'utf8');
    return [
      ...text.matchAll(/`((?:src|tools|docs|bin|test|bench|proto)\/[\w./-]+\.(?:ts|md|sh|mjs|proto))`/g),
    ]
      .map(([, target = '']) => target)
      .filter((target) => !existsSync(path.join(root, target)))
      .map((target) => `${file}: ${target} does not exist`);
  });
  report(problems);
});

test('ARCHITECTURE.md names every folder', () => {
  const text = readFileSync(path.join(root, 'ARCHITECTURE.md'), 'utf8');
  const folders = [...new Set(sourceFiles.map(({ file }) => path.dirname(file)))];
  const missing = folders
    .flatMap((folder) => {
      const [top = '', layer = '', noun] = folder.split('/');
      if (top !== 'src') return [`${top}/`];
      if (layer !== 'core' || noun === undefined) return [`src/${layer}/`];
      return [noun === 'metadata' ? 'src/core/metadata/' : noun];
    })
    .filter((name) => !text.includes(`\`${name}\``));
  report([...new Set(missing)].map((name) => `ARCHITECTURE.md: say what ${name} is for`));
});

test('walks name files that exist', () => {
  const problems = documents
    .filter((file) => file.startsWith('docs/walks/'))
    .flatMap((file) =>
      [...readFileSync(path.join(root, file), 'utf8').matchAll(/`([\w./-]+\.ts)`/g)]
        .map(([, name = '']) => name)
        .filter((name) => !sourceFiles.some((source) => source.file.endsWith(`/${name}`)))
        .map((name) => `${file}: there is no ${name}`),
    );
  report(problems);
});

test('decisions are numbered, each number once', () => {
  const names = globSync('*.md', { cwd: path.join(root, 'docs/decisions') }).filter(
    (name) => name !== 'README.md',
  );
  const problems = names
    .filter((name) => !/^\d{4}-[a-z0-9-]+\.md$/.test(name))
    .map((name) => `docs/decisions/${name}: name it NNNN-what-was-decided.md`);
  const numbers = names.map((name) => name.slice(0, 4));
  for (const number of new Set(numbers))
    if (numbers.filter((other) => other === number).length > 1)
      problems.push(`docs/decisions: number ${number} is given twice`);
  const list = readFileSync(path.join(root, 'docs/decisions/README.md'), 'utf8');
  problems.push(
    ...names
      .filter((name) => !list.includes(`](${name})`))
      .map((name) => `docs/decisions/README.md does not list ${name}`),
  );
  report(problems);
});
