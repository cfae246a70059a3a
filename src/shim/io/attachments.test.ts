/** Clients of a process: what waits for them is bounded, and nobody suffers from another. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attachments } from './attachments.ts';

const outputs = { stdin: false, stdout: true, stderr: true, lossless: false };
const part = Buffer.alloc(100_000, 'x');

test('a slow client is dropped and told why; the others go on', async () => {
  const attachments = new Attachments({ once: false });
  const slow = attachments.attach(outputs);
  const quick = attachments.attach({ ...outputs, stderr: false });
  quick.grant(10_000_000);
  const received = Array.fromAsync(quick.chunks());
  for (let count = 0; count < 20; count += 1) {
    attachments.publish('stdout', part);
    attachments.publish('stderr', part);
    await new Promise(setImmediate);
  }
  attachments.end();
  assert.equal(Buffer.concat((await received).map(({ bytes }) => bytes)).length, 2_000_000);
  slow.grant(10_000_000);
  await assert.rejects(Array.fromAsync(slow.chunks()), { code: 'ResourceExhausted' });
});

test('one that is waited for holds the process up until it takes something, or leaves', async () => {
  const attachments = new Attachments({ once: false });
  const client = attachments.attach({ ...outputs, lossless: true });
  for (let count = 0; count < 3; count += 1) attachments.publish('stdout', part);
  assert.ok(attachments.isFull);
  let told = 0;
  attachments.whenRoom(() => {
    told += 1;
  });
  client.grant(60_000);
  const chunks = client.chunks();
  assert.equal((await chunks.next()).value?.bytes.length, 60_000);
  assert.ok(!attachments.isFull);
  assert.equal(told, 1);
  for (let count = 0; count < 3; count += 1) attachments.publish('stdout', part);
  attachments.whenRoom(() => {
    told += 1;
  });
  client.leave();
  client.leave();
  assert.equal(told, 2);
});

test('a client gets no more than it asked for, and what is left at the end', async () => {
  const attachments = new Attachments({ once: false });
  const client = attachments.attach(outputs);
  attachments.publish('stdout', Buffer.from('abcdef'));
  attachments.end();
  const chunks = client.chunks();
  client.grant(2);
  assert.equal(String(Buffer.from((await chunks.next()).value?.bytes ?? [])), 'ab');
  const rest = chunks.next();
  client.grant(10);
  assert.equal(String(Buffer.from((await rest).value?.bytes ?? [])), 'cdef');
  assert.equal((await chunks.next()).done, true);
  // After the end there is nothing, and no wait.
  assert.deepEqual(await Array.fromAsync(attachments.attach(outputs).chunks()), []);
});

test('input waits for the process, and ends with the first client when it is for one', async () => {
  const attachments = new Attachments({ once: true });
  const client = attachments.attach({ ...outputs, stdin: true });
  const seen: string[] = [];
  const written = client.write(Buffer.from('in'));
  attachments.setInput({
    write: async (bytes) => {
      seen.push(String(Buffer.from(bytes)));
    },
    close: () => seen.push('closed'),
  });
  await written;
  client.closeInput();
  client.leave();
  await new Promise(setImmediate);
  assert.deepEqual(seen, ['in', 'closed']);
  await assert.rejects(attachments.attach(outputs).write(part), { code: 'FailedPrecondition' });
});
