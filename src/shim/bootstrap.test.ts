import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { hasCode } from '../base/errors.ts';
import { anyToWire, packAny } from '../wire/any.ts';
import {
  BootstrapParamsSchema,
  BootstrapResultSchema,
} from '../wire/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.js';
import { OptionsSchema } from '../wire/gen/containerd/types/runc/options/oci_pb.js';
import { parseArguments } from './arguments.ts';
import { encodeAnswer, readBootstrap } from './bootstrap.ts';

const args = parseArguments('-namespace ns -id c1 -address /run/c.sock start'.split(' '));
const options = packAny(OptionsSchema, { shimCgroup: '/x' });
const nothing = new Uint8Array();

void test('who starts us decides what is read and how we answer', () => {
  const params = toBinary(
    BootstrapParamsSchema,
    create(BootstrapParamsSchema, {
      instanceId: 'c1',
      namespace: 'ns',
      containerdGrpcAddress: '/g',
      containerdTtrpcAddress: '/t',
      socketDir: '/d',
      extensions: [{ value: anyToWire(options) }],
    }),
  );
  const old = toBinary(AnySchema, anyToWire(options));

  const address = readBootstrap(args, {}, nothing);
  assert.deepEqual(
    [address.dialect, address.ttrpcAddress, address.socketDir],
    ['address', '/run/c.sock.ttrpc', '/run/containerd/s'],
  );
  const json = readBootstrap(args, { MAX_SHIM_VERSION: '2', TTRPC_ADDRESS: '/env' }, old);
  assert.deepEqual([json.dialect, json.ttrpcAddress, json.options], ['json', '/env', options]);
  const protobuf = readBootstrap(args, { MAX_SHIM_VERSION: '2', TTRPC_ADDRESS: '/env' }, params);
  assert.deepEqual(
    [protobuf.dialect, protobuf.grpcAddress, protobuf.ttrpcAddress, protobuf.socketDir, protobuf.options],
    ['protobuf', '/g', '/t', '/d', options],
  );
});

void test('parameters alone are enough, and nothing at all is refused', () => {
  const params = create(BootstrapParamsSchema, { instanceId: 'c2', namespace: 'other' });
  const read = readBootstrap(parseArguments(['start']), {}, toBinary(BootstrapParamsSchema, params));
  assert.deepEqual([read.id, read.namespace], ['c2', 'other']);
  assert.throws(
    () => readBootstrap(parseArguments(['start']), {}, nothing),
    (error) => hasCode(error, 'InvalidArgument'),
  );
});

void test('answers as each starter reads them', () => {
  assert.equal(String(Buffer.from(encodeAnswer('address', 'unix:///s'))), 'unix:///s');
  assert.deepEqual(JSON.parse(String(Buffer.from(encodeAnswer('json', 'unix:///s')))), {
    version: 2,
    address: 'unix:///s',
    protocol: 'ttrpc',
  });
  const result = fromBinary(BootstrapResultSchema, encodeAnswer('protobuf', 'unix:///s'));
  assert.deepEqual([result.version, result.address, result.protocol], [3, 'unix:///s', 'ttrpc']);
});
