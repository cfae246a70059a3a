import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseImageName, parseIngestRef } from '../../base/identifiers.ts';
import { selectPlatform } from '../../platform/select.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import { putContent, readContent } from '../content/content-store.suite.ts';
import { StoreFixture } from './store.fixture.ts';

const platform = await selectPlatform();
const skip =
  platform.name === 'linux' ? needsRoot('it mounts a small tmpfs') : 'needs Linux: it mounts a small tmpfs';

test('a full disk is ResourceExhausted, and the store works on once there is space', { skip }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-full-'));
  platform.mounts.mount(
    { type: 'tmpfs', source: 'tmpfs', target: '', options: ['size=2m', 'mode=700'] },
    directory,
  );
  try {
    await using fixture = StoreFixture.reopen(directory);
    const { content, images } = fixture.store;
    const kept = await putContent(content, fixture.ctx, Buffer.from('kept'));
    const ref = parseIngestRef('large');
    const chunk = Buffer.alloc(256 * 1024, 7);
    let written = 0;
    {
      await using writer = await content.writer(fixture.ctx, { ref });
      const isFull = (error: unknown): boolean => hasCode(error, 'ResourceExhausted');
      await assert.rejects(async () => {
        for (;;) {
          await writer.write(chunk);
          written += chunk.length;
        }
      }, isFull);
      // Nothing of the write that failed was kept: offset and digest belong together.
      assert.equal(writer.status().offsetBytes, written);
      assert.equal(writer.digest(), digestOf(Buffer.alloc(written, 7)));
    }
    await writeFile(join(directory, 'filler'), Buffer.alloc(2 * 1024 * 1024)).catch(() => {});
    const target = { mediaType: 'x', digest: kept, sizeBytes: 4 };
    const names: string[] = [];
    await assert.rejects(
      async () => {
        for (let count = 0; count < 10_000; count += 1) {
          const name = parseImageName(`${count} ${'x'.repeat(2000)}`);
          await images.create(fixture.ctx, { name, target, labels: {} });
          names.push(name);
        }
      },
      (error) => hasCode(error, 'ResourceExhausted') || assert.fail(String(error)),
    );
    await rm(join(directory, 'filler'));
    assert.deepEqual(
      (await images.list(fixture.ctx, [])).map(({ name }) => name as string),
      names.toSorted(),
    );
    assert.equal((await readContent(content, fixture.ctx, kept)).toString(), 'kept');
    await content.abort(fixture.ctx, ref);
    await images.create(fixture.ctx, { name: parseImageName('after'), target, labels: {} });
    await putContent(content, fixture.ctx, chunk);
  } finally {
    platform.mounts.unmount(directory);
    await rm(directory, { recursive: true });
  }
});
