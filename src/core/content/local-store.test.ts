import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { digestHex, digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { parseInstant } from '../../base/time.ts';
import { LocalContentStore } from './local-store.ts';

async function makeRoot(): Promise<{ root: string } & AsyncDisposable> {
  const root = await mkdtemp(join(tmpdir(), 'gantry-content-'));
  return { root, [Symbol.asyncDispose]: () => rm(root, { recursive: true }) };
}

const ref = parseIngestRef('default/1/layer');
const refDirectory = digestHex(digestOf(ref));
const hello = Buffer.from('hello');

describe('local content store', () => {
  test('an ingest has the files that containerd would look for', async () => {
    await using made = await makeRoot();
    const store = new LocalContentStore(made.root);
    {
      await using writer = await store.writer({ ref, totalBytes: 9 });
      await writer.write(hello);
    }
    const directory = join(made.root, 'ingest', refDirectory);
    assert.deepEqual((await readdir(directory)).toSorted(), [
      'boot',
      'data',
      'ref',
      'startedat',
      'total',
      'updatedat',
    ]);
    const read = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
    assert.deepEqual([await read('ref'), await read('total'), await read('data')], [ref, '9', 'hello']);
    const [started, updated] = [parseInstant(await read('startedat')), parseInstant(await read('updatedat'))];
    assert.ok(started !== undefined && updated !== undefined && updated > started);
  });

  test('resumes in another process from what is on disk', async () => {
    await using made = await makeRoot();
    {
      await using writer = await new LocalContentStore(made.root).writer({ ref });
      await writer.write(hello);
    }
    await using writer = await new LocalContentStore(made.root).writer({ ref });
    assert.deepEqual([writer.status().offsetBytes, writer.digest()], [5, digestOf(hello)]);
  });

  test('begins anew when the machine was started since: a power cut may have left any part', async () => {
    await using made = await makeRoot();
    {
      await using writer = await new LocalContentStore(made.root, { boot: 'one' }).writer({ ref });
      await writer.write(hello);
    }
    await using writer = await new LocalContentStore(made.root, { boot: 'two' }).writer({ ref });
    assert.deepEqual([writer.status().offsetBytes, writer.digest()], [0, digestOf('')]);
  });

  test('an ingest that was never finished being made starts afresh', async () => {
    await using made = await makeRoot();
    const store = new LocalContentStore(made.root);
    const directory = join(made.root, 'ingest', refDirectory);
    await mkdir(directory);
    await writeFile(join(directory, 'startedat'), 'nonsense');
    await writeFile(join(directory, 'data'), 'left over');
    await assert.rejects(store.status(ref), (error) => hasCode(error, 'NotFound'));
    await using writer = await store.writer({ ref });
    assert.equal(writer.status().offsetBytes, 0);
  });

  test('a blob of the wrong size, as a power cut may leave it, is replaced', async () => {
    await using made = await makeRoot();
    const store = new LocalContentStore(made.root);
    const digest = digestOf(hello);
    await writeFile(join(made.root, 'blobs', 'sha256', digestHex(digest)), '');
    await using writer = await store.writer({ ref });
    await writer.write(hello);
    assert.equal((await writer.commit({})).existed, false);
    assert.equal((await store.blob(digest)).sizeBytes, 5);
  });

  test('lists blobs only, and prunes ingests that nobody knows or writes', async () => {
    await using made = await makeRoot();
    const store = new LocalContentStore(made.root);
    await using writer = await store.writer({ ref });
    await writer.write(hello);
    const { digest } = await writer.commit({});
    await writeFile(join(made.root, 'blobs', 'sha256', 'README'), 'x');
    assert.deepEqual(await Array.fromAsync(store.blobs()), [digest]);
    await using busy = await store.writer({ ref: parseIngestRef('busy') });
    for (const name of ['known', 'unknown'])
      await (await store.writer({ ref: parseIngestRef(name) }))[Symbol.asyncDispose]();
    await mkdir(join(made.root, 'ingest', 'half-made'));
    await store.pruneIngests((found) => found === 'known');
    const left = (await readdir(join(made.root, 'ingest'))).toSorted();
    assert.deepEqual(left, [busy.status().ref, 'known'].map((name) => digestHex(digestOf(name))).toSorted());
  });

  test('bytes handed to write may be used again afterwards; a scope that ends early does not cut a commit', async () => {
    await using made = await makeRoot();
    const store = new LocalContentStore(made.root);
    const buffer = Buffer.from('one');
    const commitAndLeave = async (): ReturnType<Awaited<ReturnType<typeof store.writer>>['commit']> => {
      await using writer = await store.writer({ ref });
      await writer.write(buffer);
      buffer.write('two');
      await writer.write(buffer);
      // Not awaited on purpose: the writer is disposed while it commits.
      // oxlint-disable-next-line typescript/return-await
      return writer.commit({});
    };
    const { digest } = await commitAndLeave();
    assert.equal(digest, digestOf('onetwo'));
    await using reader = await store.open(digest);
    assert.equal(Buffer.concat(await Array.fromAsync(reader.stream())).toString(), 'onetwo');
  });

  test('a stream ends with its signal', async () => {
    await using made = await makeRoot();
    const store = new LocalContentStore(made.root);
    await using writer = await store.writer({ ref });
    await writer.write(Buffer.alloc(3 * 1024 * 1024));
    const { digest } = await writer.commit({});
    await using reader = await store.open(digest);
    const abort = new AbortController();
    await assert.rejects(
      async () => {
        for await (const chunk of reader.stream({ signal: abort.signal })) {
          assert.equal(chunk.byteLength, 1024 * 1024);
          abort.abort();
        }
      },
      (error) => hasCode(error, 'Canceled'),
    );
  });
});
