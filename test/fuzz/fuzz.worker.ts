/**
 * One target in a process of its own, so that an input that never ends, or takes all memory, is known to the parent:
 * before each input it is written to a file, as the number of inputs begun (u32), its length (u32) and its bytes.
 */
import { openSync, writeSync } from 'node:fs';
import { fuzz } from './fuzz-run.ts';
import { targets } from './targets.ts';

/** What the parent is told at the end. */
export interface WorkerResult {
  readonly taken: number;
  readonly refused: number;
  /** Input in base64, and what it led to, in words. */
  readonly finding?: { readonly input: string; readonly error: string };
}

const [name = '', seed = '', seconds = '', currentFile = ''] = process.argv.slice(2);
const target = targets.find((one) => one.name === name);
if (target === undefined) throw new Error(`no target ${name}`);

const current = openSync(currentFile, 'r+');
const head = Buffer.alloc(8);
let begun = 0;

const { taken, refused, finding } = await fuzz(target, {
  seed: Number(seed),
  runs: Number.MAX_SAFE_INTEGER,
  timeLimitMs: Number(seconds) * 1000,
  onInput: (input) => {
    begun += 1;
    head.writeUInt32LE(begun, 0);
    head.writeUInt32LE(input.length, 4);
    writeSync(current, Buffer.concat([head, input]), 0, head.length + input.length, 0);
  },
});
const result: WorkerResult = {
  taken,
  refused,
  ...(finding !== undefined && {
    finding: {
      input: finding.input.toString('base64'),
      error: finding.error instanceof Error ? (finding.error.stack ?? '') : String(finding.error),
    },
  }),
};
process.send?.(result);
process.disconnect?.();
