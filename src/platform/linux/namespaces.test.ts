/** Real namespaces; needs root (CAP_SYS_ADMIN). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { LinuxMounts } from './mounts.ts';
import { LinuxNamespaces } from './namespaces.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root: it makes network namespaces';

/** Of every thread of this process; threads that end meanwhile are left out. */
const networksOfThreads = (): Set<string> =>
  new Set(
    readdirSync('/proc/self/task').flatMap((thread) => {
      try {
        return [readlinkSync(`/proc/self/task/${thread}/ns/net`)];
      } catch {
        return [];
      }
    }),
  );

const inside = (path: string, ...command: string[]): string => {
  const run = spawnSync('nsenter', [`--net=${path}`, ...command], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  return run.stdout;
};

describe('network namespaces of Linux', { skip }, () => {
  const namespaces = new LinuxNamespaces();
  let folder = '';
  let home: Set<string>;
  let descriptors = 0;

  const at = (name: string): string => join(folder, name);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-namespaces-'));
    home = networksOfThreads();
    descriptors = readdirSync('/proc/self/fd').length;
  });

  afterEach(() => {
    const left = new LinuxMounts({ loops: { attach: never, detach: never, isAttached: () => false } })
      .list()
      .filter(({ mountPoint }) => mountPoint.startsWith(folder));
    for (const { mountPoint } of left) namespaces.unpin(mountPoint);
    rmSync(folder, { recursive: true });
    assert.deepEqual(left, []);
    assert.deepEqual(networksOfThreads(), home, 'a thread stayed in another namespace');
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
  });

  test('one is made, told from a plain file, and goes', () => {
    const path = at('net');
    assert.equal(namespaces.isPinned(path), false);
    namespaces.makeNetwork(path);
    assert.equal(namespaces.isPinned(path), true);
    const own = inside(path, 'readlink', '/proc/self/ns/net').trim();
    assert.equal(home.has(own), false);
    assert.throws(
      () => namespaces.makeNetwork(path),
      (error) => hasCode(error, 'AlreadyExists'),
    );
    namespaces.unpin(path);
    assert.equal(existsSync(path), false);
    namespaces.unpin(path);
  });

  test('what a crash left without its mount is taken', () => {
    writeFileSync(at('net'), '');
    assert.equal(namespaces.isPinned(at('net')), false);
    namespaces.makeNetwork(at('net'));
    assert.equal(namespaces.isPinned(at('net')), true);
    namespaces.unpin(at('net'));
  });

  test('symlinks are not followed, and files of others stay', () => {
    writeFileSync(at('target'), 'text');
    symlinkSync(at('target'), at('link'));
    assert.throws(
      () => namespaces.makeNetwork(at('link')),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    namespaces.unpin(at('target'));
    assert.equal(existsSync(at('target')), true);
  });

  test('a failure leaves nothing', () => {
    const user = { path: at('absent/user'), uids: [], gids: [] };
    assert.throws(
      () => namespaces.makeNetwork(at('net'), { user }),
      (error) => hasCode(error, 'NotFound'),
    );
    assert.equal(existsSync(at('net')), false);
  });

  test('the loopback interface comes up', () => {
    namespaces.makeNetwork(at('net'));
    assert.doesNotMatch(inside(at('net'), 'ip', 'link', 'show', 'lo'), /[<,]UP[,>]/);
    namespaces.raiseLoopback(at('net'));
    assert.match(inside(at('net'), 'ip', 'link', 'show', 'lo'), /[<,]UP[,>]/);
    namespaces.unpin(at('net'));
    assert.throws(
      () => namespaces.raiseLoopback(at('net')),
      (error) => hasCode(error, 'FailedPrecondition'),
    );
  });

  test('one that belongs to a user namespace with mappings', () => {
    const ranges = [{ containerId: 0, hostId: 300_000, size: 65_536 }];
    const user = { path: at('user'), uids: ranges, gids: ranges };
    namespaces.makeNetwork(at('net'), { user });
    // Root of the user namespace, and nobody else's, may change what belongs to it.
    const entered = spawnSync(
      'nsenter',
      [
        `--user=${at('user')}`,
        `--net=${at('net')}`,
        '--',
        'sh',
        '-c',
        'cat /proc/self/uid_map && ip link set lo up',
      ],
      { encoding: 'utf8' },
    );
    assert.equal(entered.status, 0, entered.stderr);
    assert.deepEqual(entered.stdout.trim().split(/\s+/), ['0', '300000', '65536']);
    namespaces.raiseLoopback(at('net'));
    namespaces.unpin(at('net'));
    namespaces.unpin(at('user'));
  });
});

function never(): never {
  throw new Error('no loop device is used here');
}
