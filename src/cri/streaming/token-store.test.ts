import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../base/limits.ts';
import { TokenStore } from './token-store.ts';

test('a token is good once', () => {
  const tokens = new TokenStore<string>();
  const token = tokens.issue('a');
  assert.match(token, /^[A-Za-z0-9_-]{8}$/);
  assert.equal(tokens.take(token), 'a');
  assert.equal(tokens.take(token), undefined);
  assert.equal(tokens.take('AAAAAAAA'), undefined);
});

test('a token is good for a minute', () => {
  let nowMs = 0;
  const tokens = new TokenStore<string>({ nowMs: () => nowMs });
  const [early, late] = [tokens.issue('early'), tokens.issue('late')];
  nowMs = limits.criStreamTokenMs - 1;
  assert.equal(tokens.take(early), 'early');
  nowMs = limits.criStreamTokenMs;
  assert.equal(tokens.take(late), undefined);
});

test('so many may wait, until one is used or too old', () => {
  let nowMs = 0;
  const tokens = new TokenStore<number>({ nowMs: () => nowMs });
  const issued = Array.from({ length: limits.criStreamTokens }, (_, index) => tokens.issue(index));
  assert.equal(new Set(issued).size, limits.criStreamTokens);
  assert.throws(() => tokens.issue(-1), { code: 'ResourceExhausted' });
  tokens.take(issued[3] ?? '');
  tokens.issue(-1);
  assert.throws(() => tokens.issue(-2), { code: 'ResourceExhausted' });
  nowMs = limits.criStreamTokenMs;
  tokens.issue(-2);
});
