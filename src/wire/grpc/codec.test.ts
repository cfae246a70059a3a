import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import * as fc from 'fast-check';
import { ContainerdError } from '../../base/errors.ts';
import { StatusSchema } from '../gen/google/rpc/status_pb.js';
import { readHeaders, readTimeoutMs, statusTrailers } from './codec.ts';
import { frameOf, MessageCutter, PackedMessage, type WireMessage } from './message-frames.ts';

const text = fc.uint8Array({ maxLength: 50 });
const packed = fc
  .tuple(text, fc.integer({ min: 1, max: 255 }))
  .map(([bytes, format]) => new PackedMessage(bytes, format));
const message: fc.Arbitrary<WireMessage> = fc.oneof(text, packed);
const plainly = (one: WireMessage): unknown =>
  one instanceof PackedMessage ? { format: one.format, bytes: [...one.bytes] } : [...one];

void test('messages come out as they went in, however they are cut', () => {
  fc.assert(
    fc.property(fc.array(message), fc.array(fc.integer({ min: 1, max: 40 })), (messages, sizes) => {
      const stream = Buffer.concat(messages.map((one) => frameOf(one)));
      const cutter = new MessageCutter(50);
      const got: WireMessage[] = [];
      for (let at = 0, index = 0; at < stream.length; index += 1) {
        const size = sizes[index] ?? stream.length;
        got.push(...cutter.push(stream.subarray(at, at + size)));
        at += size;
      }
      assert.deepEqual(got.map(plainly), messages.map(plainly));
      assert.equal(cutter.isInside, false);
    }),
  );
});

void test('a message past the bound is refused by its length alone', () => {
  const cutter = new MessageCutter(10);
  assert.throws(
    () => cutter.push(frameOf(new Uint8Array(11)).subarray(0, 5)),
    (error) => error instanceof ContainerdError && error.code === 'ResourceExhausted',
  );
});

void test('time-outs by their units; what cannot be read is none', () => {
  const read = (value: string): number | undefined => readTimeoutMs({ 'grpc-timeout': value });
  assert.deepEqual(
    ['2H', '3M', '4S', '5m', '5000u', '5000000n', '99999999S'].map(read),
    [7_200_000, 180_000, 4000, 5, 5, 5, 99_999_999_000],
  );
  for (const value of ['', '5', 'm', '-5m', '5x', '123456789m']) assert.equal(read(value), undefined);
});

void test('the first value of a header counts', () => {
  const headers = { 'containerd-namespace': 'a, b', 'containerd-lease': ['l', 'm'] };
  assert.deepEqual(readHeaders(headers), { namespace: 'a', lease: 'l' });
  assert.deepEqual(readHeaders({}), { namespace: undefined, lease: undefined });
});

void test('status messages are percent-encoded, details travel in base64, and neither breaks a header block', () => {
  const details = [anyPack(StringValueSchema, create(StringValueSchema, { value: 'x' }))];
  const short = statusTrailers(create(StatusSchema, { code: 5, message: '100% \u00e9\n', details }));
  assert.equal(short['grpc-status'], '5');
  assert.equal(short['grpc-message'], '100%25 %C3%A9%0A');
  assert.match(String(short['grpc-status-details-bin']), /^[A-Za-z0-9+/]+$/);
  const long = statusTrailers(create(StatusSchema, { code: 2, message: 'y'.repeat(1_000_000), details }));
  assert.equal(String(long['grpc-message']).length, 16 * 1024);
  assert.equal(long['grpc-status-details-bin'], undefined);
});
