/** Layers through stream processors: which programs, what they are given, and what becomes of it when one fails. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { fromBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { withSignal } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { descriptorsOf } from '../../testing/held.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import { treeTar } from '../../testing/registry/image-builder.ts';
import { until } from '../../testing/until.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { ociLayer, ociLayerGzip } from './layer-media-type.ts';
import type { ProcessorPayloads } from './processor-chain.ts';
import { processingOf, type StreamProcessor } from './stream-processor.ts';
import { WalkingDiffer } from './walking-differ.ts';

const processor = (
  id: string,
  accepts: string,
  returns: string,
  more: Partial<StreamProcessor> = {},
): StreamProcessor => ({ id, accepts: [accepts], returns, path: 'cat', args: [], env: {}, ...more });

void describe('the way of a layer through stream processors', () => {
  const way = (processors: readonly StreamProcessor[], mediaType: string): string[] => {
    const { steps, mediaType: last } = processingOf(processors, mediaType);
    return [...steps.map((step) => `${step.mediaType} -> ${step.processor.id}`), last];
  };

  void it('follows the media types until a tar, or what nobody accepts, comes out', () => {
    const all = [processor('outer', 'x/outer', 'x/inner'), processor('inner', 'x/inner', ociLayerGzip)];
    assert.deepEqual(way(all, 'x/outer'), ['x/outer -> outer', 'x/inner -> inner', ociLayerGzip]);
    assert.deepEqual(way(all, ociLayerGzip), [ociLayerGzip]);
    assert.deepEqual(way(all, 'x/other'), ['x/other']);
  });

  void it('goes before what is read anyway; a tar is not asked about twice', () => {
    const gzip = processor('gzip', ociLayerGzip, ociLayer);
    const tar = processor('tar', ociLayer, ociLayer);
    assert.deepEqual(way([gzip, tar], ociLayerGzip), [`${ociLayerGzip} -> gzip`, ociLayer]);
    assert.deepEqual(way([gzip, tar], ociLayer), [`${ociLayer} -> tar`, ociLayer]);
  });

  void it('the last that accepts a type is taken', () => {
    assert.deepEqual(way([processor('a', 'x/1', ociLayer), processor('b', 'x/1', ociLayer)], 'x/1'), [
      'x/1 -> b',
      ociLayer,
    ]);
  });

  void it('a circle is an error', () => {
    const circle = [processor('a', 'x/1', 'x/2'), processor('b', 'x/2', 'x/1')];
    assert.throws(
      () => processingOf(circle, 'x/1'),
      (error) => hasCode(error, 'FailedPrecondition') && /in a circle/.test(String(error)),
    );
  });
});

void describe('a layer through stream processors', { skip: needsLinux('pipes are made by FFI') }, () => {
  const tar = treeTar({ 'etc/': {}, 'etc/x': 'x', big: Buffer.alloc(300_000, 'abc') });
  let platform: Platform;
  let fixture: StoreFixture;
  let scratch: string;

  before(async () => {
    platform = await selectPlatform();
    scratch = mkdtempSync(join(tmpdir(), 'gantry-processors-'));
    fixture = await StoreFixture.make();
  });
  after(async () => {
    await fixture[Symbol.asyncDispose]();
    rmSync(scratch, { recursive: true });
  });

  const script = (text: string): string => {
    const path = join(mkdtempSync(join(scratch, 'program-')), 'p');
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return path;
  };
  const stored = async (bytes: Buffer, mediaType: string): Promise<Descriptor> => {
    const [digest, sizeBytes] = [digestOf(bytes), bytes.length];
    const { content } = fixture.store;
    await using writer = await content
      .writer(fixture.ctx, { ref: parseIngestRef(`blob-${digest}`), totalBytes: sizeBytes })
      .catch(() => undefined);
    await writer?.write(bytes);
    await writer?.commit(fixture.ctx, { sizeBytes, expected: digest }).catch(() => {});
    return { mediaType, digest, sizeBytes };
  };
  interface Applying {
    readonly bytes?: Buffer;
    readonly mediaType?: string;
    readonly payloads?: ProcessorPayloads;
    readonly signal?: AbortSignal;
  }
  /** Applies what is stored as `x/in` by default, and gives the diffID and the root. */
  const apply = async (
    streamProcessors: readonly StreamProcessor[],
    { bytes = tar, mediaType = 'x/in', payloads, signal }: Applying = {},
  ): Promise<{ digest: string; root: string }> => {
    const root = mkdtempSync(join(scratch, 'root-'));
    await using differ = new WalkingDiffer(
      { content: fixture.store.content, platform, log: silentLogger },
      { tempRoot: join(scratch, 'mounts'), streamProcessors },
    );
    const ctx = signal === undefined ? fixture.ctx : withSignal(fixture.ctx, signal);
    const mounts = [{ type: 'bind', source: root, target: '', options: ['rw', 'rbind'] }];
    const options = payloads === undefined ? {} : { payloads };
    const applied = await differ.apply(ctx, await stored(bytes, mediaType), mounts, options);
    assert.equal(applied.mediaType, ociLayer);
    return { digest: applied.digest, root };
  };

  void it('is what the program makes of it', async () => {
    const { digest, root } = await apply([processor('p', 'x/in', ociLayerGzip)], { bytes: gzipSync(tar) });
    assert.equal(digest, digestOf(tar));
    assert.equal(readFileSync(join(root, 'etc/x'), 'utf8'), 'x');
  });

  void it('goes from one to the next, and each is told its input', async () => {
    const seen = join(mkdtempSync(join(scratch, 'seen-')), 'seen');
    const note = script(
      `echo "$STREAM_PROCESSOR_MEDIATYPE $MORE $* $(ls /proc/self/fd | tr '\\n' ' ')" >>${seen}; exec tr b-za a-z`,
    );
    const rotated = Buffer.from(
      treeTar({ f: 'abc' }).toString('latin1').replaceAll(/[a-z]/g, rotate(2)),
      'latin1',
    );
    const chain = [
      processor('one', 'x/in', 'x/next', { path: note, args: ['-k', 'a b'], env: { MORE: 'm' } }),
      processor('two', 'x/next', ociLayer, { path: note }),
    ];
    const { root } = await apply(chain, { bytes: rotated });
    assert.equal(readFileSync(join(root, 'f'), 'utf8'), 'abc');
    // 3 is the directory that ls reads.
    assert.deepEqual(readFileSync(seen, 'utf8').split('\n').toSorted(), [
      '',
      'x/in m -k a b 0 1 2 3 ',
      'x/next   0 1 2 3 ',
    ]);
  });

  void it('only the processor that it is for gets a payload, on descriptor 3', async () => {
    const dir = mkdtempSync(join(scratch, 'payload-'));
    const path = script(`cat <&3 >${dir}/$STREAM_PROCESSOR_MEDIATYPE; exec cat`);
    const value = Buffer.alloc(200_000, 'secret');
    const chain = [processor('one', 'in', 'next', { path }), processor('two', 'next', ociLayer, { path })];
    const payloads = new Map([['one', { typeUrl: 'some.Type', value }]]);
    await apply(chain, { mediaType: 'in', payloads });
    const given = fromBinary(AnySchema, readFileSync(join(dir, 'in')));
    assert.deepEqual([given.typeUrl, Buffer.from(given.value)], ['some.Type', value]);
    assert.throws(() => readFileSync(join(dir, 'next')), /ENOENT/);
  });

  void it('fails with what the program said, however whole its output looked', async () => {
    const failing = (text: string): StreamProcessor[] => [
      processor('p', 'x/in', ociLayer, { path: script(text) }),
    ];
    await rejectsWith(
      apply(failing('cat; echo went wrong >&2; exit 3')),
      'Unknown',
      /stream processor p ended with status 3: went wrong$/,
    );
    await rejectsWith(apply(failing('exit 3')), 'Unknown', /stream processor p ended with status 3$/);
    await rejectsWith(
      apply(failing('cat >/dev/null; yes noise | head -c 100000 >&2; echo last words >&2; exit 1')),
      'Unknown',
      /: [^:]{8000,8192}last words$/,
    );
  });

  void it('of several that fail the one is told that did so by itself', async () => {
    const chain = (first: string, second: string): StreamProcessor[] => [
      processor('one', 'x/in', 'x/next', { path: script(first) }),
      processor('two', 'x/next', ociLayer, { path: script(second) }),
    ];
    await rejectsWith(apply(chain('exec cat /dev/zero', 'exit 4')), 'Unknown', /two ended with status 4$/);
    await rejectsWith(apply(chain('exit 5', 'cat; exit 6')), 'Unknown', /one ended with status 5$/);
    await rejectsWith(
      apply(chain('exec cat /dev/zero', 'head -c 1024')),
      'Unknown',
      /one ended with status 141$/,
    );
  });

  void it('a program that cannot be started', async () => {
    const at = (path: string): StreamProcessor[] => [processor('p', 'x/in', ociLayer, { path })];
    await rejectsWith(
      apply(at('/no/such/program')),
      'Unknown',
      /failed to get stream processor for x\/in: fork\/exec \/no\/such\/program: no such file or directory$/,
    );
    await rejectsWith(
      apply(at('no-such-program')),
      'Unknown',
      /failed to get stream processor for x\/in: exec: "no-such-program": executable file not found in \$PATH$/,
    );
    const later = [processor('one', 'x/in', 'x/next'), processor('p', 'x/next', ociLayer, { path: '/' })];
    await rejectsWith(apply(later), 'Unknown', /for x\/next: fork\/exec \/: permission denied$/);
  });

  void it('a type that nothing reads', async () => {
    await rejectsWith(apply([]), 'Unimplemented');
    const strange = [processor('p', 'x/in', 'x/strange')];
    await rejectsWith(apply(strange), 'FailedPrecondition', /stream processor p returns "x\/strange"/);
  });

  void it('a program need not read everything', async () => {
    const copy = join(mkdtempSync(join(scratch, 'copy-')), 'tar');
    writeFileSync(copy, tar);
    const path = script(`exec cat ${copy}`);
    const { digest } = await apply([processor('p', 'x/in', ociLayer, { path })], {
      bytes: Buffer.alloc(5_000_000, 'unread'),
    });
    assert.equal(digest, digestOf(tar));
  });

  void it('a tar that is none kills the program', async () => {
    const pid = join(mkdtempSync(join(scratch, 'pid-')), 'pid');
    const path = script(`echo $$ >${pid}; exec yes`);
    await rejectsWith(apply([processor('p', 'x/in', ociLayer, { path })]), 'InvalidArgument');
    assert.equal(platform.processes.isAlive(Number(readFileSync(pid, 'utf8'))), false);
  });

  void it('a caller that leaves takes the programs and their children along', async () => {
    const dir = mkdtempSync(join(scratch, 'pids-'));
    const path = script(`sleep 300 & echo $$ $! >${dir}/pids; mv ${dir}/pids ${dir}/running; sleep 300`);
    const stop = new AbortController();
    const applied = rejectsWith(
      apply([processor('p', 'x/in', ociLayer, { path })], { signal: stop.signal }),
      'Canceled',
    );
    const pids = (): number[] => readFileSync(join(dir, 'running'), 'utf8').split(' ').map(Number);
    await until('it runs', () => pids().length === 2);
    stop.abort();
    await applied;
    await until('both are gone', () => pids().every((pid) => !platform.processes.isAlive(pid)));
  });

  void it('a blob that rotted on disk is found, whatever the program makes of it', async () => {
    const bytes = Buffer.from(tar);
    bytes.write('Y', 0);
    await stored(bytes, 'x/in');
    const [hex] = digestOf(bytes).split(':').slice(1);
    const path = join(fixture.directory, 'content/blobs/sha256', hex ?? '');
    rmSync(path);
    writeFileSync(path, tar);
    await rejectsWith(apply([processor('p', 'x/in', ociLayer)], { bytes }), 'DataLoss');
  });

  void it('no descriptor stays open', async () => {
    const twice = [processor('one', 'x/in', 'x/next'), processor('two', 'x/next', ociLayer)];
    const payloads = new Map([['one', { typeUrl: 't', value: Buffer.from('v') }]]);
    await apply(twice, { payloads });
    const open = descriptorsOf().length;
    for (let count = 0; count < 3; count += 1) await apply(twice, { payloads });
    await until('all are closed', () => descriptorsOf().length <= open);
  });
});

/** A letter `by` places later in the alphabet. */
const rotate =
  (by: number) =>
  (letter: string): string =>
    String.fromCharCode(((letter.charCodeAt(0) - 97 + by) % 26) + 97);
