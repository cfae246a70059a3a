/** Verifiers and pulls: what is asked, when, and what a refusal leaves. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { invalidArgument } from '../../base/errors.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { buildImage, publish } from '../../testing/registry/image-builder.ts';
import type { ImageVerifier } from '../verifiers/image-verifier.ts';
import type { ImageVerifiers } from './image-verification.ts';
import { TransferFixture } from './transfer.fixture.ts';

const image = buildImage([{ 'etc/x': 'x' }]);

const judge = (isAccepted: boolean, asked: unknown[] = []): ImageVerifier => ({
  verify: async (_ctx, name, target) => {
    asked.push({ name, target });
    return { isAccepted, reason: 'so it is' };
  },
});

async function fixtureWith(verifiers: ImageVerifiers): Promise<TransferFixture> {
  const fixture = await TransferFixture.make({ verifiers });
  publish(fixture.remote.storage, 'sample', 'latest', image);
  return fixture;
}

void describe('verifiers of images', () => {
  void it('are asked about the name and what it stands for', async () => {
    const asked: unknown[] = [];
    await using fixture = await fixtureWith(
      new Map([
        ['one', judge(true, asked)],
        ['two', judge(true, asked)],
      ]),
    );
    const { name, target } = await fixture.pull();
    assert.deepEqual(asked, [
      { name, target },
      { name, target },
    ]);
  });

  void it('a refusal ends the pull before anything is stored or a layer is asked for', async () => {
    await using fixture = await fixtureWith(
      new Map([
        ['kind', judge(true)],
        ['strict', judge(false)],
      ]),
    );
    await rejectsWith(
      fixture.pull(),
      'Unknown',
      new RegExp(
        `^image verifier strict blocked pull of ${fixture.reference()} with digest ${image.descriptor.digest} for reason: so it is$`,
      ),
    );
    assert.deepEqual(await fixture.digests(), []);
    assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
    await fixture.assertNothingLeft([image.descriptor]);
    for (const { descriptor } of image.layers) assert.deepEqual(fixture.requestsFor(descriptor.digest), []);
    assert.deepEqual(fixture.requestsFor(image.configDescriptor.digest), []);
  });

  void it('one that cannot judge refuses', async () => {
    const broken: ImageVerifier = { verify: () => Promise.reject(invalidArgument('bad day')) };
    await using fixture = await fixtureWith(new Map([['broken', broken]]));
    await rejectsWith(
      fixture.pull(),
      'Unknown',
      /^blocking pull of .* with digest sha256:.*: image verifier broken returned error: bad day/,
    );
    assert.deepEqual(await fixture.digests(), []);
  });

  void it('a pull that is given up meanwhile is canceled', async () => {
    const stop = new AbortController();
    const slow: ImageVerifier = {
      verify: async ({ signal }) => {
        stop.abort();
        signal.throwIfAborted();
        return { isAccepted: true, reason: '' };
      },
    };
    await using fixture = await fixtureWith(new Map([['slow', slow]]));
    await rejectsWith(fixture.pull({ ctx: fixture.within('default', stop.signal) }), 'Canceled');
  });
});
