/** Names of images: what parses is whole, comes again from its short form, and leads to a host that can be asked. */
import assert from 'node:assert/strict';
import { limits } from '../../../src/base/limits.ts';
import { planHosts } from '../../../src/core/registry/hosts.ts';
import { familiarReference, normaliseReference, parseReference } from '../../../src/oci/reference.ts';
import { type FuzzTarget, mustTake, textOf } from '../fuzz-target.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

export const reference: FuzzTarget = {
  name: 'reference',
  seeds: [
    'alpine',
    'library/alpine:3.20',
    'docker.io/library/alpine:latest',
    `registry.example.com:5000/a/b_c/d--e@${digest}`,
    `localhost/x:tag@${digest}`,
    '[::1]:5000/x:y',
    'UPPER/x',
  ],
  hostile: ['host:99999/a:b', '999.999.999.999/a:b', '[::::]/a:b', 'xn--/a:b', '0x100000000.1/a'],
  words: [
    'docker.io',
    'index.docker.io/',
    'library/',
    'localhost/',
    `@${digest}`,
    ':latest',
    '__',
    '--',
    '://',
  ],
  refusals: ['InvalidArgument'],
  async check(input) {
    const named = normaliseReference(textOf(input));
    assert.ok(named.text.length <= limits.referenceBytes);
    assert.ok(named.tag !== undefined || named.digest !== undefined);
    assert.ok(!named.repository.includes('..') && !named.repository.startsWith('/'));
    const { text } = named;
    assert.deepEqual(
      mustTake('what was completed', () => parseReference(text)),
      named,
    );
    const short = familiarReference(named);
    assert.equal(mustTake('the short form', () => normaliseReference(short)).text, text);
    const { hosts } = await planHosts(named.host, { roots: [] });
    assert.ok(hosts.every(({ origin }) => /^https?:$/.test(origin.protocol) && origin.pathname === '/'));
  },
};
