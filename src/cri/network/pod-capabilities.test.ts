import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { capabilitiesOf } from './pod-capabilities.ts';
import { parseQuantity } from './quantity.ts';

describe('quantities of Kubernetes', () => {
  const values: readonly [string, number][] = [
    ['0', 0],
    ['1', 1],
    ['+10M', 10_000_000],
    ['1.5k', 1500],
    ['.5G', 500_000_000],
    ['1Ki', 1024],
    ['1.5Mi', 1_572_864],
    ['1e6', 1_000_000],
    ['12E3', 12_000],
    ['1500m', 2],
    ['1n', 1],
    ['1P', 1e15],
  ];
  for (const [text, value] of values) test(text, () => assert.equal(parseQuantity(text), value));

  for (const text of ['', 'M', '-1', '1 M', '1kB', '1KI', '100E', '1e99', '0x10', '1.2.3', 'NaN', 'Infinity'])
    test(`${JSON.stringify(text)} is none`, () =>
      assert.throws(
        () => parseQuantity(text),
        (error) => hasCode(error, 'InvalidArgument'),
      ));
});

describe('what plugins may be told of a pod', () => {
  const of = (annotations: Record<string, string>): object =>
    capabilitiesOf({ annotations, portMappings: [], cgroupPath: '' });

  test('nothing but its annotations', () => {
    assert.deepEqual(of({ a: 'b' }), { 'io.kubernetes.cri.pod-annotations': { a: 'b' } });
  });

  test('bandwidth, within the bounds of Kubernetes', () => {
    const { bandwidth } = capabilitiesOf({
      annotations: { 'kubernetes.io/egress-bandwidth': '2k' },
      portMappings: [],
      cgroupPath: '',
    });
    assert.deepEqual(bandwidth, { egressRate: 2000, egressBurst: 4_294_967_295 });
    for (const rate of ['999', '2P', 'fast'])
      assert.throws(
        () => of({ 'kubernetes.io/ingress-bandwidth': rate }),
        /annotation kubernetes.io\/ingress-bandwidth: /,
      );
  });
});
