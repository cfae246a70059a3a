/** What a shim does with the streams that a killed one left: each byte once, wherever it was cut. */
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { until } from '../../testing/until.ts';
import { Attachments } from './attachments.ts';
import { CriLog } from './cri-log.ts';
import { formatLines, lineHeads } from './log-lines.ts';
import { parseCriTarget } from './log-uri.ts';
import { LogJournal } from './output-spool.ts';
import { RelayedStdio } from './relayed-stdio.ts';

const isLinux = process.platform === 'linux';
const heads = lineHeads(instantOfNs(1_700_000_000_000_000_000n), 'stdout');
const wall = /^\S+ /gm;

/** In the log before, in the batch that was cut, in the spool behind it, in the pipe. */
const [done, cut, spooled, piped] = ['earlier\n', 'first\nsecond\n', 'third\nfour', 'th\nfifth'];

function lines(text: string): Buffer {
  const out = Buffer.alloc(4096);
  const { writtenBytes } = formatLines(Buffer.from(text), out, heads, { maxLineBytes: 100, isLast: true });
  return out.subarray(0, writtenBytes);
}

describe('streams of a killed shim', { skip: isLinux ? false : 'it needs splice(2)' }, () => {
  let platform: Platform;
  let root: string;
  before(async () => {
    platform = await selectPlatform();
    root = mkdtempSync(join(tmpdir(), 'gantry-relay-'));
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  const batch = lines(cut);
  const cuts = [0, 1, heads.full.length, batch.length - 1, batch.length];
  for (const isRotated of [false, true])
    for (const at of cuts)
      test(`cut after ${at} of ${batch.length} bytes${isRotated ? ', and rotated since' : ''}`, async () => {
        const directory = join(root, `${at}-${isRotated}`);
        const path = join(directory, 'log', 'x.log');
        mkdirSync(join(directory, 'log'), { recursive: true });
        writeFileSync(path, Buffer.concat([lines(done), batch.subarray(0, at)]));
        using log = new CriLog({ log: silentLogger }, path);
        log.reopen();
        const inode = BigInt.asIntN(64, log.position()?.inode ?? 0n);
        if (isRotated) renameSync(path, `${path}.1`);
        writeFileSync(join(directory, 'stdout.spool'), `${done}${cut}${spooled}`);
        {
          using journal = new LogJournal(join(directory, 'journal'));
          journal.write({
            output: 0,
            doneBytes: [done.length, 0],
            batchBytes: cut.length,
            writtenBytes: batch.length,
            time: instantOfNs(1_700_000_000_000_000_000n),
            inode,
            logBytes: BigInt(lines(done).length),
          });
        }
        for (const name of ['stdout', 'stderr']) platform.files.makeFifo(join(directory, name), 0o600);
        const writer = platform.files.openFifo(join(directory, 'stdout'), 'read-write', {
          nonBlocking: true,
        });
        writeSync(writer, piped);
        const attachments = new Attachments({ once: false });
        const uri = `cri://${path}?max-line=100`;
        const target = parseCriTarget(uri);
        assert.ok(target !== undefined);
        const client = attachments.attach({ stdin: false, stdout: true, stderr: true, lossless: true });
        const stdio = RelayedStdio.adopt(
          { platform, log: silentLogger, attachments },
          {
            ...{ directory, target, stdinClosed: true, endsWithProcess: true },
            io: { stdin: '', stdout: uri, stderr: uri, terminal: false },
          },
        );
        await until('the pipe is taken', () => readFileSync(path, 'utf8').includes('fourth'));
        stdio.ended();
        await stdio.drained(1000);
        closeSync(writer);
        const text = `${isRotated ? readFileSync(`${path}.1`, 'utf8') : ''}${readFileSync(path, 'utf8')}`;
        assert.equal(
          text.replaceAll(wall, ''),
          String(lines(`${done}${cut}${spooled}${piped}`)).replaceAll(wall, ''),
        );
        client.grant(100);
        const chunks = await Array.fromAsync(client.chunks());
        assert.equal(Buffer.concat(chunks.map(({ bytes }) => bytes)).toString(), piped);
        await stdio[Symbol.asyncDispose]();
      });
});
