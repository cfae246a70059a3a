import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { cgroupOf, locateCgroups, parseMemberships } from './cgroup-paths.ts';

const pureV2 = '24 30 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n';
const hybrid = [
  '31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
  '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
  '35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
  '40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd',
  '41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
].join('\n');
const hybridMembership = '9:name=systemd:/\n4:memory:/ns/c1\n2:cpu,cpuacct:/ns/c1\n0::/\n';

test('a host with cgroup2 alone is of version 2', () => {
  assert.deepEqual(locateCgroups('0::/system.slice/a:b.scope\n', pureV2), {
    version: 2,
    path: '/sys/fs/cgroup/system.slice/a:b.scope',
  });
  assert.deepEqual(locateCgroups('0::/\n', pureV2), { version: 2, path: '/sys/fs/cgroup' });
});

test('a hybrid host is of version 1, and named hierarchies do not count', () => {
  const paths = locateCgroups(hybridMembership, hybrid);
  assert.equal(paths.version, 1);
  assert.deepEqual(paths.version === 1 && [...paths.controllers], [
    ['cpu', '/sys/fs/cgroup/cpu,cpuacct/ns/c1'],
    ['cpuacct', '/sys/fs/cgroup/cpu,cpuacct/ns/c1'],
    ['memory', '/sys/fs/cgroup/memory/ns/c1'],
  ]);
});

test('a mount that shows a part of the hierarchy is entered below that part', () => {
  const mounts = '24 30 0:21 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
  const paths = locateCgroups('0::/docker/abc/inner\n', mounts);
  assert.deepEqual(paths, { version: 2, path: '/sys/fs/cgroup/inner' });
});

test('a path outside of our cgroup namespace does not climb out of the mount', () => {
  const paths = locateCgroups('0::/../../../etc\n', pureV2);
  assert.deepEqual(paths, { version: 2, path: '/sys/fs/cgroup/etc' });
});

test('removed cgroups and malformed lines are read', () => {
  assert.deepEqual(parseMemberships('0::/gone (deleted)\nnonsense\n'), [{ controllers: [], path: '/gone' }]);
});

test('no hierarchy is an error that says so', () => {
  assert.throws(
    () => locateCgroups('', ''),
    (error) => hasCode(error, 'FailedPrecondition'),
  );
});

test('our own cgroups are found, and those of nobody are not', () => {
  assert.ok([1, 2].includes(cgroupOf(process.pid).version));
  assert.throws(
    () => cgroupOf(0x3f_ffff),
    (error) => hasCode(error, 'NotFound'),
  );
});
