/** What a shim prints at its start and what it is started with: three dialects of each, bytes of another program. */
import assert from 'node:assert/strict';
import { create, toBinary } from '@bufbuild/protobuf';
import { parseShimAnswer } from '../../../src/core/runtime/shims/shim-address.ts';
import { parseArguments } from '../../../src/shim/arguments.ts';
import { encodeAnswer, readBootstrap } from '../../../src/shim/bootstrap.ts';
import { BootstrapParamsSchema } from '../../../src/wire/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.js';
import { type FuzzTarget } from '../fuzz-target.ts';

const address = 'unix:///run/containerd/s/abc';

export const shimAnswer: FuzzTarget = {
  name: 'shim-answer',
  seeds: [
    ...(['address', 'json', 'protobuf'] as const).map((dialect) => encodeAnswer(dialect, address)),
    `{"version":3,"address":"${address}","protocol":""}\n`,
    `{"address":"${address}"}`,
  ],
  hostile: [
    `{"address":"${address}","protocol":{"toString":1}}`,
    `{"address":"${address}","version":"3"}`,
    `{"address":"${address}","version":[]}`,
    `{"address":"${address}","version":-1.5}`,
    `{"__proto__":{"address":"${address}"}}`,
    '{"a":'.repeat(1000),
  ],
  words: [
    '"version":',
    '"address":',
    '"protocol":',
    '"ttrpc"',
    '"grpc"',
    address,
    'vsock://',
    '2',
    '3',
    '[]',
    '{}',
  ],
  refusals: ['Unimplemented', 'Unknown'],
  check(input) {
    const answer = parseShimAnswer(input);
    assert.ok(answer.version === 2 || answer.version === 3, `version ${answer.version}`);
    assert.ok(typeof answer.address === 'string' && answer.address !== '');
    assert.equal(answer.protocol, 'ttrpc');
  },
};

const params = create(BootstrapParamsSchema, {
  instanceId: 'id',
  namespace: 'default',
  containerdGrpcAddress: '/run/g',
  containerdTtrpcAddress: '/run/t',
});

export const shimBootstrap: FuzzTarget = {
  name: 'shim-bootstrap',
  seeds: [toBinary(BootstrapParamsSchema, params), ''],
  hostile: [Buffer.alloc(20_000, 0x7b), Buffer.from('0affffffff0f', 'hex')],
  words: ['id', 'default', 'containerd.runc.v1.Options'],
  maxBytes: 64 * 1024,
  refusals: ['InvalidArgument'],
  check(input) {
    const args = parseArguments(['-namespace', 'default', '-id', 'id', '-address', '/run/g', 'start']);
    const { id, namespace, options, ttrpcAddress } = readBootstrap(args, {}, input);
    assert.equal(id, 'id');
    assert.notEqual(namespace, '');
    assert.notEqual(ttrpcAddress, '');
    assert.ok(options === undefined || options.typeUrl !== '');
  },
};
