import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Semaphore } from './semaphore.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test('a larger number lets those in that wait, a smaller one waits for those that hold it', async () => {
  const semaphore = new Semaphore(1);
  const held: Disposable[] = [];
  const want = (): void => void semaphore.acquire().then((permit) => held.push(permit));
  for (let index = 0; index < 5; index += 1) want();
  await turn();
  assert.equal(held.length, 1);
  semaphore.resize(3);
  await turn();
  assert.equal(held.length, 3);
  semaphore.resize(1);
  held[0]?.[Symbol.dispose]();
  held[1]?.[Symbol.dispose]();
  await turn();
  assert.equal(held.length, 3, 'one still holds it');
  held[2]?.[Symbol.dispose]();
  held[2]?.[Symbol.dispose]();
  await turn();
  assert.equal(held.length, 4, 'a permit given back twice is one');
});
