import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { hasCode } from '../../base/errors.ts';
import type { JsonObject } from '../../oci/json.ts';
import type { CniVersion } from './cni-protocol.ts';
import { parseCniResult, resultAsVersion } from './cni-result.ts';
import { familyOf } from './ip-address.ts';
import { podIps } from './pod-ips.ts';

const none = {
  interfaces: [],
  ips: [],
  routes: [],
  dns: { nameservers: [], domain: '', search: [], options: [] },
};

describe('results of CNI plugins', () => {
  test('nothing at all', () => {
    assert.deepEqual(parseCniResult({}), none);
    assert.deepEqual(parseCniResult({ ips: null, dns: null }), none);
  });

  test('of the first versions', () => {
    const { ips, routes } = parseCniResult({
      cniVersion: '0.2.0',
      ip4: { ip: '10.1.2.3/24', gateway: '10.1.2.1', routes: [{ dst: '0.0.0.0/0', gw: '10.1.2.1' }] },
      ip6: { ip: 'fd00::3/64' },
    });
    const of = (address: string, family: 4 | 6, prefixLength: number, gateway: string): object => ({
      address,
      family,
      prefixLength,
      gateway,
      interface: undefined,
    });
    assert.deepEqual(ips, [of('10.1.2.3', 4, 24, '10.1.2.1'), of('fd00::3', 6, 64, '')]);
    assert.deepEqual(routes, [{ destination: '0.0.0.0/0', gateway: '10.1.2.1' }]);
  });

  const newer: JsonObject = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'cni0' }, { name: 'eth0', mac: 'aa', sandbox: '/n', mtu: 1400 }],
    ips: [
      { address: '10.1.2.3/24', interface: 1 },
      { address: 'fd00::3/64', interface: 1 },
    ],
    dns: { nameservers: ['10.0.0.2'], search: ['a'] },
  };

  test('goes from version to version without a loss', () => {
    const older = resultAsVersion(newer, '0.4.0');
    assert.deepEqual(older['ips'], [
      { version: '4', address: '10.1.2.3/24', interface: 1 },
      { version: '6', address: 'fd00::3/64', interface: 1 },
    ]);
    assert.deepEqual(parseCniResult(older), parseCniResult(newer));
    assert.deepEqual(resultAsVersion(older, '1.1.0'), newer);
    const first = { ip4: { ip: '10.1.2.3/24' } };
    assert.deepEqual(resultAsVersion(first, '0.2.0'), { ...first, cniVersion: '0.2.0' });
  });

  test('of any shape: read, or refused with the place', () => {
    fc.assert(
      fc.property(
        fc.record(
          {
            interfaces: fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue())),
            ips: fc.oneof(fc.jsonValue(), fc.array(fc.record({ address: fc.jsonValue() }))),
            ip4: fc.jsonValue(),
            routes: fc.jsonValue(),
            dns: fc.jsonValue(),
          },
          { requiredKeys: [] },
        ),
        fc.constantFrom<CniVersion>('0.2.0', '0.4.0', '1.1.0'),
        (document, version) => {
          try {
            parseCniResult(document);
          } catch (error) {
            assert.ok(hasCode(error, 'InvalidArgument'));
            return;
          }
          assert.deepEqual(parseCniResult(resultAsVersion(document, version)), parseCniResult(document));
        },
      ),
    );
  });

  test('addresses', () => {
    for (const text of ['10.0.0.1', '255.255.255.255', '0.0.0.0']) assert.equal(familyOf(text), 4, text);
    for (const text of ['::', 'fd00::1', '::ffff:10.0.0.1', '1:2:3:4:5:6:7:8'])
      assert.equal(familyOf(text), 6, text);
    for (const text of [
      '',
      '10.0.0',
      '10.0.0.256',
      '01.2.3.4',
      '0x1.1',
      ':::',
      '1::2::3',
      'fe80::1%eth0',
      '::1]/x',
      'a.b',
    ])
      assert.equal(familyOf(text), undefined, text);
  });

  test('the address that a pod is known by', () => {
    const result = parseCniResult({
      interfaces: [{ name: 'cni0' }, { name: 'eth0' }],
      ips: [
        { address: '10.9.9.9/24', interface: 0 },
        { address: 'fd00::3/64', interface: 1 },
        { address: '10.1.2.3/24', interface: 1 },
        { address: '10.1.2.4/24' },
      ],
    });
    assert.deepEqual(podIps(result, 'eth0', 'cni'), ['fd00::3', '10.1.2.3', '10.1.2.4']);
    assert.deepEqual(podIps(result, 'eth0', 'ipv4'), ['10.1.2.3', 'fd00::3', '10.1.2.4']);
    assert.deepEqual(podIps(result, 'eth0', 'ipv6'), ['fd00::3', '10.1.2.3', '10.1.2.4']);
    assert.deepEqual(podIps(result, 'cni0', 'ipv6'), ['10.9.9.9', '10.1.2.4']);
    assert.deepEqual(podIps(parseCniResult({}), 'eth0', 'ipv4'), []);
  });
});
