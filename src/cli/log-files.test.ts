import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { ContainerRecord } from '../client/index.ts';
import { logPathOf, prepareLog, readLog, removeLog, tailOffset } from './log-files.ts';

describe('log files', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-log-test-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  test('the tail begins where the last lines begin', async () => {
    const path = join(folder, 'tail');
    const text = fc.string({ unit: fc.constantFrom('a', '\n'), maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(text, fc.nat({ max: 10 }), async (content, lines) => {
        writeFileSync(path, content);
        const all = content.split(/(?<=\n)/).filter((line) => line !== '');
        const expected = lines === 0 ? '' : all.slice(-lines).join('');
        assert.equal(content.slice(await tailOffset(path, lines)), expected);
      }),
      { numRuns: 200 },
    );
  });

  test('the tail of a file larger than what is read at once', async () => {
    const path = join(folder, 'large');
    writeFileSync(path, `${'x'.repeat(100_000)}\n${'y'.repeat(100_000)}\n`);
    assert.equal(await tailOffset(path, 1), 100_001);
    assert.equal(await tailOffset(path, 2), 0);
  });

  test('following shows what is appended and ends with the container, nothing lost', async () => {
    const path = join(folder, 'follow');
    writeFileSync(path, 'one\n');
    const { promise: until, resolve: end } = Promise.withResolvers<void>();
    const follow = { until, signal: new AbortController().signal };
    let text = '';
    for await (const chunk of readLog(path, { offset: 0, follow })) {
      text += chunk.toString();
      if (text === 'one\n') appendFileSync(path, 'two\n');
      else if (text === 'one\ntwo\n') {
        appendFileSync(path, 'three\n');
        end();
      }
    }
    assert.equal(text, 'one\ntwo\nthree\n');
  });

  test('following ends with the signal', async () => {
    const path = join(folder, 'signal');
    writeFileSync(path, 'one\n');
    const aborter = new AbortController();
    const follow = { until: new Promise<void>(() => {}), signal: aborter.signal };
    for await (const _ of readLog(path, { offset: 0, follow })) aborter.abort();
  });

  test("only a file that bears the container's id is removed", async () => {
    const uri = await prepareLog(folder, { namespace: 'n', id: 'abc' });
    const container = { id: 'abc', labels: { 'gantry.io/log-uri': uri } } as unknown as ContainerRecord;
    const path = logPathOf(container) as string;
    writeFileSync(path, '');
    await removeLog({ ...container, id: 'other' });
    writeFileSync(path, '', { flag: 'r+' });
    await removeLog(container);
    assert.throws(() => writeFileSync(path, '', { flag: 'r+' }), { code: 'ENOENT' });
  });
});
