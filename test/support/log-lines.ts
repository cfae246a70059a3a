/** CRI logs as tests read them: many files, which may be large. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const line = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (?<rest>(?:stdout|stderr) [FP] .*)$/;

/** Lines without their times, of all files one after the other. A torn line is an error. */
export function linesOf(...paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    const lines = readFileSync(path, 'utf8').split('\n');
    assert.equal(lines.pop(), '', `${path} ends within a line`);
    return lines.map((text, index) => {
      const rest = line.exec(text)?.groups?.['rest'];
      assert.ok(rest !== undefined, `${path}:${index + 1} is torn: ${text.slice(0, 200)}`);
      return rest;
    });
  });
}

/** A program that writes `count` numbered lines of about 100 bytes to stdout and, every tenth, to stderr. */
export const numberedLines = (count: number): string =>
  `awk 'BEGIN { for (i = 1; i <= ${count}; i++) {
    print i, "${'x'.repeat(92)}"; if (i % 10 == 0) print i > "/dev/stderr" } }'`;

/** Asserts that they are all there, once, whole and in order. */
export function assertNumbered(lines: readonly string[], count: number): void {
  const expected = { stdout: 1, stderr: 10 };
  for (const text of lines) {
    const [name, tag, number] = text.split(' ', 3) as ['stdout' | 'stderr', string, string];
    assert.equal(tag, 'F');
    assert.equal(Number(number), expected[name], `${name} goes on with ${text.slice(0, 40)}`);
    assert.equal(
      text.length,
      name === 'stdout' ? `stdout F ${number} `.length + 92 : `stderr F ${number}`.length,
    );
    expected[name] += name === 'stdout' ? 1 : 10;
  }
  assert.deepEqual(expected, { stdout: count + 1, stderr: count + 10 });
}
