/** The applier on the portable twin: no chroot, no FFI; the writer's own path walk is the wall. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import { portablePlatform } from '../../platform/portable/portable-platform.ts';
import { LayerApplier } from './layer-applier.ts';
import type { TarEntry } from './tar-entry.ts';
import { tarEnd, tarEntryHeader, tarPadding } from './tar-writer.ts';

const file = (path: string, text: string): Buffer => {
  const entry: TarEntry = {
    kind: 'file',
    path,
    linkPath: '',
    mode: 0o644,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    sizeBytes: text.length,
    modifiedAt: instantOfNs(1_000_000_000n),
    deviceMajor: 0,
    deviceMinor: 0,
    xattrs: new Map(),
  };
  return Buffer.concat([tarEntryHeader(entry), Buffer.from(text), tarPadding(text.length)]);
};

void it('writes into the directory of a bind mount and nowhere else', async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'gantry-portable-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(scratch, { recursive: true }));
  const applier = new LayerApplier(
    { platform: portablePlatform(), log: silentLogger },
    { tempRoot: join(scratch, 'mounts') },
  );
  cleanup.use(applier);
  const [root, outside] = [mkdtempSync(join(scratch, 'root-')), mkdtempSync(join(scratch, 'outside-'))];
  symlinkSync(outside, join(root, 'absolute'));
  symlinkSync('../'.repeat(30), join(root, 'up'));
  const tar = Buffer.concat([
    file('plain', 'plain'),
    file('absolute/escaped', 'in'),
    file('up/top', 'top'),
    file('.wh.gone', ''),
    tarEnd(),
  ]);
  const mounts = [{ type: 'bind', source: root, target: '', options: ['rbind', 'rw'] }];
  const open = async function* (): AsyncGenerator<Buffer, void> {
    yield tar;
  };
  await applier.apply({ open }, mounts);
  assert.equal(readFileSync(join(root, 'plain'), 'utf8'), 'plain');
  assert.equal(readFileSync(join(root, outside, 'escaped'), 'utf8'), 'in');
  assert.equal(readFileSync(join(root, 'top'), 'utf8'), 'top');
  assert.deepEqual(readdirSync(outside), []);
  assert.ok(!existsSync('/top'));
});
