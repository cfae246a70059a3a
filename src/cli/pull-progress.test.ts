import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseDigest } from '../base/digest.ts';
import type { TransferProgress } from '../client/index.ts';
import { PullProgress } from './pull-progress.ts';

const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip';
const digest = (digit: string) => parseDigest(`sha256:${digit.repeat(64)}`);
const layer = (event: string, digit: string, progress: number, total = 4096): TransferProgress => ({
  event,
  name: `layer-${digit}`,
  parents: [],
  progress,
  total,
  descriptor: { mediaType: layerType, digest: digest(digit), sizeBytes: total },
});

test('a frame has a line for each layer and one for the sum', () => {
  const progress = new PullProgress('localhost/app:1', 0);
  assert.deepEqual(progress.frame(500, 80), ['localhost/app:1: resolving  0.5 s']);
  progress.apply(layer('waiting', 'a', 0));
  progress.apply(layer('downloading', 'b', 2048));
  const frame = progress.frame(1000, 80);
  assert.equal(frame.length, 3);
  assert.equal(frame[0], 'aaaaaaaaaaaa  waiting       4.0 KiB');
  assert.match(frame[1] ?? '', /^bbbbbbbbbbbb {2}downloading {3}█+░+ {2}2\.0 KiB \/ 4\.0 KiB$/);
  assert.equal(frame[2], '2.0 KiB of 8.0 KiB  2.0 KiB/s  1.0 s');
});

test('half of the bytes is half of the bar', () => {
  const progress = new PullProgress('x', 0);
  progress.apply(layer('downloading', 'a', 2048));
  const bar = progress.frame(1, 120)[0] ?? '';
  assert.equal(bar.split('█').length, bar.split('░').length);
});

test('lines tell each phase once, and late reports of an earlier one are dropped', () => {
  const progress = new PullProgress('x', 0);
  for (const event of [
    'waiting',
    'downloading',
    'downloading',
    'complete',
    'downloading',
    'extracting',
    'extracted',
  ])
    progress.apply(layer(event, 'a', 4096));
  assert.deepEqual(progress.takeLines(), [
    'aaaaaaaaaaaa: downloading (4.0 KiB)',
    'aaaaaaaaaaaa: downloaded (4.0 KiB)',
    'aaaaaaaaaaaa: extracting (4.0 KiB)',
    'aaaaaaaaaaaa: done (4.0 KiB)',
  ]);
  assert.deepEqual(progress.takeLines(), []);
});

test('what was here already is not counted as fetched', () => {
  const progress = new PullProgress('x', 0);
  progress.apply(layer('already exists', 'a', 4096));
  assert.equal(progress.summary(2000), 'nothing to fetch, 2.0 s');
  progress.apply(layer('downloading', 'b', 1024));
  progress.apply(layer('complete', 'b', 4096));
  assert.equal(progress.summary(2000), '4.0 KiB fetched, 2.0 s');
});

test('a layer that is extracted while it comes is fetched whole', () => {
  const progress = new PullProgress('x', 0);
  progress.apply(layer('downloading', 'a', 64));
  progress.apply(layer('extracting', 'a', 0));
  progress.apply(layer('complete', 'a', 4096));
  assert.equal(progress.summary(2000), '4.0 KiB fetched, 2.0 s');
});

test('when the pull is complete every layer is done, also those not heard of again', () => {
  const progress = new PullProgress('x', 0);
  progress.apply(layer('downloading', 'a', 10));
  progress.apply({
    event: 'Completed pull from OCI Registry (x)',
    name: 'x',
    parents: [],
    progress: 0,
    total: 0,
  });
  assert.match(progress.frame(1, 80)[0] ?? '', / done /);
});

test('no frame is wider than the terminal or steers it, whatever the registry says', () => {
  const event = fc.record({
    event: fc.constantFrom('waiting', 'downloading', 'complete', 'extracting', 'extracted', 'odd'),
    name: fc.string(),
    progress: fc.nat(),
    total: fc.nat(),
    digit: fc.constantFrom('a', 'b', 'c'),
  });
  fc.assert(
    fc.property(
      fc.array(event),
      fc.string({ unit: 'binary' }),
      fc.integer({ min: 1, max: 200 }),
      (events, name, columns) => {
        const progress = new PullProgress(name, 0);
        for (const each of events)
          progress.apply({ ...layer(each.event, each.digit, each.progress, each.total), name: each.name });
        for (const line of progress.frame(1000, columns)) {
          assert.ok(line.length <= columns, `${line.length} > ${columns}`);
          // oxlint-disable-next-line no-control-regex -- that there are none is the point
          assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f]/);
        }
      },
    ),
  );
});
