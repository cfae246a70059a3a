import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DetachKeys } from './detach-keys.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function typed(...chunks: string[]): { forwarded: string; detached: boolean } {
  const keys = new DetachKeys();
  let forwarded = '';
  for (const chunk of chunks) {
    const { forward, detached } = keys.feed(bytes(chunk));
    forwarded += new TextDecoder().decode(forward);
    if (detached) return { forwarded, detached };
  }
  return { forwarded, detached: false };
}

test('Ctrl-P Ctrl-Q detaches, in one piece or two, and is not passed on', () => {
  assert.deepEqual(typed('ab\u0010\u0011cd'), { forwarded: 'ab', detached: true });
  assert.deepEqual(typed('ab\u0010', '\u0011'), { forwarded: 'ab', detached: true });
  assert.deepEqual(typed('\u0010\u0010\u0011'), { forwarded: '\u0010', detached: true });
});

test('a Ctrl-P that something else follows is passed on before it', () => {
  assert.deepEqual(typed('\u0010', 'x'), { forwarded: '\u0010x', detached: false });
  assert.deepEqual(typed('\u0011'), { forwarded: '\u0011', detached: false });
});

test('without the keys every byte is passed on, however it is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), (chunks) => {
      const clean = chunks.map((chunk) => chunk.filter((byte) => byte !== 0x11));
      const keys = new DetachKeys();
      const out = clean.flatMap((chunk) => [...keys.feed(chunk).forward]);
      out.push(...keys.feed(Uint8Array.of(0)).forward);
      assert.deepEqual(out, [...clean.flatMap((chunk) => [...chunk]), 0]);
    }),
  );
});
