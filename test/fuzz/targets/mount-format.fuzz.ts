/** `format/` mounts: placeholders are filled in or refused, and what is filled in stays bounded. */
import assert from 'node:assert/strict';
import { limits } from '../../../src/base/limits.ts';
import { instantOfNs } from '../../../src/base/time.ts';
import { formatMount } from '../../../src/core/mounts/format.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

const active = Array.from({ length: 3 }, (_, index) => ({
  mount: { type: 'bind', source: `/source/${index}`, target: 'sub', options: [] },
  mountPoint: `/point/${index}`,
  mountedAt: instantOfNs(0n),
}));

export const mountFormat: FuzzTarget = {
  name: 'mount-format',
  seeds: ['lowerdir={{ overlay 2 0 }}', '{{ mount 0 }}/x{{- source 1 -}} {{target 2}}', 'no placeholder } {'],
  hostile: [
    '{{',
    '{{ overlay 0 9999 }}',
    '{{ mount -1 }}',
    '{{ __proto__ 0 }}',
    '{{mount 0}}'.repeat(20_000),
    `{{${' '.repeat(60_000)}}}`,
  ],
  words: ['{{', '}}', '{{-', '-}}', 'mount', 'source', 'target', 'overlay', ' 0', ' 2 0', ' -1'],
  maxBytes: 64 * 1024,
  refusals: ['InvalidArgument'],
  async check(input) {
    const text = textOf(input);
    const mount = { type: 'overlay', source: text, target: '', options: [] };
    const { source } = await formatMount(mount, active, { signal: new AbortController().signal });
    assert.ok(source.length <= limits.mountTextBytes + text.length);
    if (!text.includes('{{')) assert.equal(source, text);
  },
};
