/** The repository as the tidy tests read it: every source file with what it imports. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const root = path.join(import.meta.dirname, '../..');

export interface Import {
  /** As written: `node:fs`, `undici`, `../base/errors.ts`. */
  readonly specifier: string;
  readonly line: number;
  /** Types only: gone at run time. */
  readonly typeOnly: boolean;
  /** Path from the root for a file of ours, undefined for packages and Node's modules. */
  readonly file: string | undefined;
}

export interface SourceFile {
  /** From the root, `src/base/errors.ts`. */
  readonly file: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly imports: readonly Import[];
}

const statement =
  /^[ \t]*(?:import|export)\s+(type\s+)?([^'";]*?\bfrom\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm;

/** Imports of a text; also those of `export … from` and `import()`. */
export function importsOf(file: string, text: string): Import[] {
  return [...text.matchAll(statement)].map((match) => {
    const [whole, type, names = '', named, dynamic] = match;
    const specifier = named ?? dynamic ?? '';
    // `import { type A, type B } from` leaves nothing either.
    const inner = /\{([^}]*)\}/
      .exec(names)?.[1]
      ?.split(',')
      .map((name) => name.trim());
    const allTypes =
      inner !== undefined &&
      /^\s*\{/.test(names) &&
      inner.every((name) => name === '' || name.startsWith('type '));
    return {
      specifier,
      line: text.slice(0, match.index + whole.search(/\S/)).split('\n').length,
      typeOnly: type !== undefined || allTypes,
      file: specifier.startsWith('.') ? path.normalize(path.join(path.dirname(file), specifier)) : undefined,
    };
  });
}

function read(file: string): SourceFile {
  const text = readFileSync(path.join(root, file), 'utf8');
  return { file, text, lines: text.split('\n'), imports: importsOf(file, text) };
}

/** Everything written by hand; generated code is left out. */
export const sourceFiles: readonly SourceFile[] = globSync(
  ['src/**/*.ts', 'test/**/*.ts', 'tools/**/*.ts', 'bench/**/*.ts', 'examples/**/*.ts'],
  { cwd: root },
)
  .filter((file) => !file.startsWith('src/wire/gen/'))
  .toSorted()
  .map((file) => read(file));

/** Tests, suites, benches and their fixtures may do what the product may not. */
export const isTestFile = (file: string): boolean =>
  /\.(?:test|suite|fixture|worker|bench|fuzz)\.ts$/.test(file) ||
  /^(?:src\/testing|test|bench|tools|examples)\//.test(file);

/** `src/core/content/local-store.ts` is of layer `core`; undefined outside src. */
export const layerOf = (file: string): string | undefined => /^src\/([^/]+)\//.exec(file)?.[1];
