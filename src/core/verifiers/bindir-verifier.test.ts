/** The programs of a directory as judges. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { background, type Context } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { type LogFields, silentLogger } from '../../base/logger.ts';
import { selectPlatform } from '../../platform/select.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { descriptorsOf } from '../../testing/held.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import { until } from '../../testing/until.ts';
import { BindirVerifier } from './bindir-verifier.ts';
import type { Judgement } from './image-verifier.ts';

const target = {
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest: digestOf(Buffer.from('m')),
  sizeBytes: 1,
  annotations: { a: 'b' },
};
const name = 'reg.example/a:1';
const platform = await selectPlatform();

class Programs implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'gantry-verifiers-'));
  readonly binDir = join(this.dir, 'bin');
  readonly log: { readonly fields: LogFields; readonly message: string }[] = [];

  constructor(scripts: Readonly<Record<string, string>>, { mode = 0o755 } = {}) {
    mkdirSync(this.binDir);
    for (const [file, text] of Object.entries(scripts))
      writeFileSync(join(this.binDir, file), `#!/bin/sh\n${text}\n`, { mode });
  }

  verify({
    maxVerifiers = 10,
    timeoutMs = 10_000,
    signal,
  }: {
    maxVerifiers?: number;
    timeoutMs?: number;
    signal?: AbortSignal;
  } = {}): Promise<Judgement> {
    const note = (fields: LogFields, message: string): void => void this.log.push({ fields, message });
    const ctx: Context = {
      ...background({ ...silentLogger, debug: note, warn: note }),
      ...(signal && { signal }),
    };
    const options = { binDir: this.binDir, maxVerifiers, perVerifierTimeoutMs: timeoutMs };
    return new BindirVerifier(platform, options).verify(ctx, name, target);
  }

  read(file: string): string {
    return readFileSync(join(this.dir, file), 'utf8');
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true });
  }
}

void describe('image verifiers of a directory', { skip: needsLinux('pipes are made by FFI') }, () => {
  void it('get the name, the digest and the descriptor', async () => {
    using programs = new Programs({ a: 'cat >"$0.in"; echo "$@"; ls /proc/self/fd | tr "\\n" " "' });
    const { isAccepted, reason } = await programs.verify();
    assert.equal(isAccepted, true);
    // 3 is the directory that ls reads.
    assert.equal(
      reason,
      `a => -name ${name} -digest ${target.digest} -stdin-media-type application/vnd.oci.descriptor.v1+json\n0 1 2 3`,
    );
    const { mediaType, digest } = target;
    const expected = { mediaType, digest, size: 1, annotations: { a: 'b' } };
    assert.deepEqual(JSON.parse(programs.read('bin/a.in')), expected);
    assert.match(programs.read('bin/a.in'), /\}\n$/);
  });

  void it('are asked by name, and all must accept', async () => {
    using kind = new Programs({ b: 'echo two', a: 'echo " one "' });
    assert.deepEqual(await kind.verify(), { isAccepted: true, reason: 'a => one, b => two' });
    using strict = new Programs({ a: '', b: 'echo no way; exit 7', c: 'touch "$0.asked"' });
    assert.deepEqual(await strict.verify(), {
      isAccepted: false,
      reason: 'verifier b rejected image (exit code 7): no way',
    });
    assert.throws(() => strict.read('bin/c.asked'), /ENOENT/);
  });

  void it('none: a directory that is not there or empty accepts', async () => {
    using programs = new Programs({});
    assert.match((await programs.verify()).reason, /^no image verifier binaries found in \//);
    rmSync(programs.binDir, { recursive: true });
    assert.deepEqual(await programs.verify(), {
      isAccepted: true,
      reason: `image verifier directory ${programs.binDir} does not exist`,
    });
    writeFileSync(programs.binDir, '');
    await rejectsWith(programs.verify(), 'Unknown', /^failed to list directory contents: .*not a directory/);
  });

  void it('no more than max_verifiers are asked, and that is said', async () => {
    using programs = new Programs({ a: 'echo 1', b: 'echo 2', c: 'exit 1' });
    assert.equal((await programs.verify({ maxVerifiers: 2 })).reason, 'a => 1, b => 2');
    assert.match(programs.log.at(-1)?.message ?? '', /left out/);
    assert.equal((await programs.verify({ maxVerifiers: -1 })).isAccepted, false);
    assert.equal((await programs.verify({ maxVerifiers: 3 })).isAccepted, false);
  });

  void it('what cannot be started refuses', async () => {
    using locked = new Programs({ a: '' }, { mode: 0o644 });
    const starting = (words: string): RegExp =>
      new RegExp(`^failed to call verifier \\w \\(runtime .*\\): starting process: fork/exec /.*: ${words}$`);
    await rejectsWith(locked.verify(), 'Unknown', starting('permission denied'));
    using folder = new Programs({});
    mkdirSync(join(folder.binDir, 'd'));
    await rejectsWith(folder.verify(), 'Unknown', starting('permission denied'));
    using nonsense = new Programs({});
    writeFileSync(join(nonsense.binDir, 'n'), 'nonsense', { mode: 0o755 });
    await rejectsWith(nonsense.verify(), 'Unknown', starting('exec format error'));
  });

  void it('at the time limit a program and its children are killed, and the image is refused', async () => {
    using programs = new Programs({ a: 'sleep 300 & echo $! >"${0%/*}/../child"; sleep 300' });
    await rejectsWith(
      programs.verify({ timeoutMs: 1000 }),
      'Unknown',
      /^failed to call verifier a .*: waiting on command to exit: signal: killed$/,
    );
    const child = Number(programs.read('child'));
    await until('the child is gone', () => !platform.processes.isAlive(child));
  });

  void it('a caller that leaves takes the program along', async () => {
    using programs = new Programs({ a: 'touch "${0%/*}/../started"; sleep 300' });
    const stop = new AbortController();
    const verified = rejectsWith(programs.verify({ signal: stop.signal }), 'Canceled');
    await until('it runs', () => programs.read('started') === '');
    stop.abort();
    await verified;
  });

  void it('one that leaves a child with its output open has answered', async () => {
    using programs = new Programs({ a: 'sleep 300 & echo $! >"${0%/*}/../child"; echo fine' });
    assert.equal((await programs.verify()).reason, 'a => fine');
    platform.processes.kill(Number(programs.read('child')), 9);
  });

  void it('says as much as it likes; 32 KiB of each stream are kept', async () => {
    using programs = new Programs({
      a: 'head -c 5000000 /dev/zero | tr "\\0" x; head -c 5000000 /dev/zero | tr "\\0" y >&2; exit 3',
    });
    const { isAccepted, reason } = await programs.verify();
    assert.equal(isAccepted, false);
    assert.equal(
      reason,
      `verifier a rejected image (exit code 3): ${'x'.repeat(32 * 1024)}(stdout truncated)`,
    );
    assert.deepEqual(
      programs.log.map(({ message }) => message),
      ['y'.repeat(32 * 1024), '(the rest is left out)'],
    );
  });

  void it('standard error goes to the log line by line', async () => {
    using programs = new Programs({ a: 'echo one >&2; echo two >&2; cat >/dev/null' });
    await programs.verify();
    const fields = { image_verifier: 'a', stream: 'stderr' };
    assert.deepEqual(programs.log, [
      { fields, message: 'one' },
      { fields, message: 'two' },
    ]);
  });

  void it('hold no descriptor afterwards', async () => {
    using programs = new Programs({ a: 'echo fine' });
    await programs.verify();
    const before = descriptorsOf().length;
    for (let count = 0; count < 5; count += 1) await programs.verify();
    await until('all are closed', () => descriptorsOf().length <= before);
  });
});
