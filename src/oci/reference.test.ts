/** References against Docker's rules, and as a round trip for any name that the grammar makes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { hasCode } from '../base/errors.ts';
import { familiarReference, normaliseReference, parseReference } from './reference.ts';

const hex = 'a'.repeat(64);
const refused = (error: unknown): boolean => hasCode(error, 'InvalidArgument');

void describe('normaliseReference', () => {
  const table: [typed: string, full: string][] = [
    ['alpine', 'docker.io/library/alpine:latest'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['grafana/loki', 'docker.io/grafana/loki:latest'],
    ['docker.io/alpine', 'docker.io/library/alpine:latest'],
    ['index.docker.io/alpine', 'docker.io/library/alpine:latest'],
    ['localhost/alpine', 'localhost/alpine:latest'],
    ['localhost:5000/a/b/c:x', 'localhost:5000/a/b/c:x'],
    // Without a dot or port the first part is a user, not a host.
    ['registry/alpine', 'docker.io/registry/alpine:latest'],
    ['ghcr.io/a/b', 'ghcr.io/a/b:latest'],
    ['[::1]:5000/a', '[::1]:5000/a:latest'],
    [`alpine@sha256:${hex}`, `docker.io/library/alpine@sha256:${hex}`],
    [`alpine:3@sha256:${hex}`, `docker.io/library/alpine:3@sha256:${hex}`],
  ];
  for (const [typed, full] of table)
    void it(`${typed} is ${full}`, () => assert.equal(normaliseReference(typed).text, full));

  for (const bad of [
    '',
    'Alpine',
    'a//b',
    'a:',
    'a:b:c',
    'a@sha256:12',
    hex,
    '-a',
    'a b',
    'ghcr.io/',
    `a:${'t'.repeat(129)}`,
  ])
    void it(`refuses ${JSON.stringify(bad)}`, () => assert.throws(() => normaliseReference(bad), refused));
});

void describe('parseReference', () => {
  void it('splits host, repository, tag and digest', () => {
    const { host, repository, tag, digest } = parseReference(`reg.example:5000/a/b_c:v1.2@sha256:${hex}`);
    assert.deepEqual([host, repository, tag, digest], ['reg.example:5000', 'a/b_c', 'v1.2', `sha256:${hex}`]);
  });
  void it("takes containerd's form for no tag", () => {
    assert.equal(parseReference(`docker.io/a/b:@sha256:${hex}`).tag, undefined);
  });
  for (const bad of [
    'alpine',
    'https://docker.io/alpine',
    '../etc/passwd',
    'docker.io/../x',
    'h_ost.io/a',
    'docker.io/a:b/c',
  ])
    void it(`refuses ${bad}`, () => assert.throws(() => parseReference(bad), refused));
  void it('refuses what is longer than any registry takes', () => {
    assert.throws(() => parseReference(`docker.io/${'a'.repeat(2000)}`), refused);
  });
});

const part = fc.stringMatching(/^[a-z0-9]{1,8}(?:[._-][a-z0-9]{1,4})?$/);
const typed = fc
  .tuple(
    fc.option(fc.constantFrom('docker.io', 'ghcr.io', 'localhost', 'reg.example:5000', '127.0.0.1:80')),
    fc.array(part, { minLength: 1, maxLength: 3 }),
    fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}$/)),
    fc.option(fc.constant(`sha256:${hex}`)),
  )
  .map(([host, path, tag, digest]) =>
    [
      host === null ? '' : `${host}/`,
      path.join('/'),
      tag === null ? '' : `:${tag}`,
      digest === null ? '' : `@${digest}`,
    ].join(''),
  )
  // A first part like "a.b" would be a host, and a lone hash an id: those are other references.
  .filter((text) => !/^[0-9a-f]{64}/.test(text));

void describe('references', () => {
  void it('normalising twice changes nothing, and the familiar form means the same', () => {
    fc.assert(
      fc.property(typed, (text) => {
        const once = normaliseReference(text);
        assert.equal(normaliseReference(once.text).text, once.text);
        assert.equal(normaliseReference(familiarReference(once)).text, once.text);
        assert.deepEqual(parseReference(once.text), once);
      }),
    );
  });
  void it('any text is a reference or refused as an argument', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        for (const parse of [parseReference, normaliseReference])
          try {
            const { host, repository } = parse(text);
            assert.ok(!repository.split('/').includes('..') && !host.includes('/'));
          } catch (error) {
            assert.ok(refused(error), String(error));
          }
      }),
    );
  });
});
