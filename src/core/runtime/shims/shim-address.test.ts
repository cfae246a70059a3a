import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { BootstrapResultSchema } from '../../../wire/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.js';
import { parseShimAnswer } from './shim-address.ts';

const address = 'unix:///run/containerd/s/272ff5b4f45909a7513381ae2973069586b5515016ca1606b96d4e07126f682c';

void test('the three ways in which shims say where they are', () => {
  const rows: [string, Uint8Array, number][] = [
    ['1.6', Buffer.from(address), 2],
    ['with a newline', Buffer.from(`${address}\n`), 2],
    ['1.7 to 2.2', Buffer.from(JSON.stringify({ version: 3, address, protocol: 'ttrpc' })), 3],
    ['no version', Buffer.from(JSON.stringify({ address })), 2],
    ['2.3', toBinary(BootstrapResultSchema, create(BootstrapResultSchema, { version: 3, address })), 3],
  ];
  for (const [what, answer, version] of rows)
    assert.deepEqual(parseShimAnswer(answer), { version, address, protocol: 'ttrpc' }, what);
});

void test('what this daemon cannot speak, and noise', () => {
  const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
  assert.throws(() => parseShimAnswer(json({ version: 4, address, protocol: 'ttrpc' })), {
    code: 'Unimplemented',
  });
  assert.throws(() => parseShimAnswer(json({ version: 3, address, protocol: 'grpc' })), {
    code: 'Unimplemented',
  });
  assert.throws(() => parseShimAnswer(json({ version: 1, address })), { code: 'Unimplemented' });
  for (const wrong of [
    { address, protocol: { toString: 1 } },
    { address, version: '3' },
    { address, version: [] },
    { address, version: -1.5 },
  ])
    assert.throws(() => parseShimAnswer(json(wrong)), { code: 'Unknown' }, JSON.stringify(wrong));
  for (const noise of ['', 'panic: runtime error', '{"version":', '{}', 'null'])
    assert.throws(() => parseShimAnswer(Buffer.from(noise)), { code: 'Unknown' }, noise);
});
