/** The content service over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { digestOf } from '../base/digest.ts';
import { ContainerdError } from '../base/errors.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { Content, WriteAction } from '../wire/gen/containerd/services/content/v1/content_pb.js';
import { absent, all, bytes, hello, inside, ServiceFixture, stream } from './service.fixture.ts';

describe('content', () => {
  let services: ServiceFixture;
  before(async () => {
    services = await ServiceFixture.make();
  });
  after(() => services[Symbol.asyncDispose]());

  const write = WriteAction.WRITE;
  const commit = WriteAction.COMMIT;

  it('writes: each message answered, the last one twice', async () => {
    const content = services.client(Content);
    const answers = await all(
      content.write(
        stream(
          { action: WriteAction.STAT, ref: 'w1', total: 5n },
          { action: write, data: bytes('hel') },
          { action: write, offset: 3n, data: bytes('lo') },
          { action: commit, offset: 5n, expected: hello, total: 5n, labels: { a: 'b', e: '' } },
        ),
        inside,
      ),
    );
    assert.deepEqual(
      answers.map(({ action, offset, total }) => [action, offset, total]),
      [
        [WriteAction.STAT, 0n, 5n],
        [write, 3n, 5n],
        [write, 5n, 5n],
        [commit, 5n, 5n],
        [commit, 5n, 5n],
      ],
    );
    assert.equal(answers[0]?.digest, digestOf(''));
    assert.equal(answers[1]?.digest, digestOf('hel'));
    assert.deepEqual(answers[1]?.startedAt, answers[0]?.startedAt);
    assert.equal(answers.at(-1)?.digest, hello);
    const { info } = await content.info({ digest: hello }, inside);
    assert.deepEqual([info?.size, info?.labels], [5n, { a: 'b' }]);
  });

  it('refuses what containerd refuses in a write', async () => {
    const content = services.client(Content);
    const run = (
      ...messages: Parameters<typeof content.write>[0] extends AsyncIterable<infer M> ? M[] : never
    ) => all(content.write(stream(...messages), inside));
    await rejectsWith(run(), 'Unknown', /^EOF$/);
    await rejectsWith(run({ action: write }), 'InvalidArgument', /must have a reference/);
    await rejectsWith(
      run({ action: write, ref: 'w2', data: bytes('abc') }, { action: write, offset: 9n }),
      'OutOfRange',
      /write @9 must occur at current offset 3/,
    );
    // What was written stays for a resume; an offset of 0 starts over, one below appends.
    assert.equal((await content.status({ ref: 'w2' }, inside)).status?.offset, 3n);
    const over = await run(
      { action: write, ref: 'w2', offset: -1n, data: bytes('d') },
      { action: write, offset: 0n, data: bytes('xy') },
    );
    assert.deepEqual(
      over.map(({ offset }) => offset),
      [4n, 2n, 2n],
    );
    await rejectsWith(run({ action: commit, ref: 'w2', offset: 2n, total: 9n }), 'FailedPrecondition');
    await rejectsWith(run({ action: commit, ref: 'w2', offset: 2n, expected: absent }), 'FailedPrecondition');
    await rejectsWith(run({ action: WriteAction.STAT, ref: 'w3', expected: hello }), 'AlreadyExists');
    await rejectsWith(
      run(
        { action: write, ref: 'w4', data: bytes('hello') },
        { action: commit, offset: 5n, expected: hello },
      ),
      'AlreadyExists',
      /blob with expected digest/,
    );
    await rejectsWith(content.status({ ref: 'w4' }, inside), 'NotFound');
    await content.abort({ ref: 'w2' }, inside);
    await rejectsWith(content.abort({ ref: 'w2' }, inside), 'NotFound');
  });

  it('holds the lock of a ref for as long as its stream lasts', async () => {
    const content = services.client(Content);
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const slow = (async function* () {
      yield { action: write, ref: 'locked', data: bytes('a') };
      await done;
    })();
    const first = content.write(slow, inside)[Symbol.asyncIterator]();
    await first.next();
    await rejectsWith(all(content.write(stream({ ref: 'locked' }), inside)), 'Unavailable', /locked/);
    await first.return?.();
    resolve();
    // The lock goes with the stream, which ends a moment after the client has gone.
    for (;;) {
      const again = await all(content.write(stream({ ref: 'locked' }), inside)).catch((error: unknown) => {
        assert(error instanceof ContainerdError && error.code === 'Unavailable', String(error));
      });
      if (again !== undefined) break;
    }
    assert.equal((await content.status({ ref: 'locked' }, inside)).status?.offset, 1n);
  });

  it('reads ranges, counting from the start of the read', async () => {
    const content = services.client(Content);
    const read = async (offset: bigint, size: bigint): Promise<string> => {
      const parts = await all(content.read({ digest: hello, offset, size }, inside));
      if (parts[0] !== undefined) assert.equal(parts[0].offset, 0n);
      return Buffer.concat(parts.map(({ data }) => data)).toString();
    };
    assert.equal(await read(0n, 0n), 'hello');
    assert.equal(await read(2n, 0n), 'llo');
    assert.equal(await read(1n, 2n), 'el');
    assert.equal(await read(-6n, -2n), 'hello');
    assert.equal(await read(5n, 0n), '');
    assert.equal(await read(3n, 99n), 'lo');
    await rejectsWith(read(6n, 0n), 'OutOfRange', /read past object length 5 bytes/);
    await rejectsWith(all(content.read({ digest: absent }, inside)), 'NotFound');
  });

  it('answers for infos, labels and lists', async () => {
    const content = services.client(Content);
    await rejectsWith(content.info({ digest: 'nope' }, inside), 'InvalidArgument');
    await rejectsWith(content.info({ digest: hello }), 'FailedPrecondition');
    await rejectsWith(content.info({ digest: hello }, { namespace: 'elsewhere' }), 'NotFound');
    await rejectsWith(
      content.update({ info: { digest: hello }, updateMask: { paths: ['size'] } }, inside),
      'InvalidArgument',
    );
    const { info } = await content.update(
      { info: { digest: hello, labels: { x: 'y' } }, updateMask: { paths: ['labels.x'] } },
      inside,
    );
    assert.deepEqual(info?.labels, { a: 'b', x: 'y' });
    const blocks = await all(content.list({ filters: ['labels.x'] }, inside));
    assert.deepEqual(
      blocks.map((block) => block.info.map(({ digest }) => digest)),
      [[hello]],
    );
    assert.deepEqual(await all(content.list({}, { namespace: 'empty' })), []);
    await rejectsWith(all(content.list({ filters: ['digest=='] }, inside)), 'InvalidArgument');
    await content.delete({ digest: hello }, inside);
    await rejectsWith(content.delete({ digest: hello }, inside), 'NotFound');
  });
});
