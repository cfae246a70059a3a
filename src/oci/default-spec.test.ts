/** The spec a client makes: containerd's default, the image's words and the user's over them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hasCode } from '../base/errors.ts';
import {
  allCapabilities,
  defaultCapabilities,
  parseCapability,
  parseEffectiveCapabilities,
} from './capabilities.ts';
import { makeSpec, mergeEnv, processArgs } from './default-spec.ts';
import type { ImageRunConfig } from './image-config.ts';
import { resolveUser } from './users.ts';

const base = { id: 'c1', namespace: 'ns', args: ['sh'] };
const image: ImageRunConfig = {
  user: '',
  env: ['PATH=/image', 'A=1'],
  entrypoint: ['/entry', '-x'],
  cmd: ['cmd'],
  workingDir: '/work',
  volumes: [],
  exposedPorts: [],
  labels: {},
  stopSignal: '',
};

void describe('makeSpec', () => {
  void it('is the default of containerd clients', () => {
    const spec = makeSpec(base);
    assert.equal(spec.linux?.cgroupsPath, '/ns/c1');
    assert.deepEqual(spec.process?.capabilities, {
      bounding: defaultCapabilities,
      effective: defaultCapabilities,
      permitted: defaultCapabilities,
    });
    assert.equal(spec.process?.noNewPrivileges, true);
    assert.deepEqual(spec.process?.rlimits, [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }]);
    assert.deepEqual(
      spec.linux?.namespaces?.map(({ type }) => type),
      ['pid', 'ipc', 'uts', 'mount', 'network'],
    );
    assert.deepEqual(spec.linux?.resources?.devices, [{ allow: false, access: 'rwm' }]);
    assert.deepEqual(
      spec.mounts?.map(({ destination }) => destination),
      ['/proc', '/dev', '/dev/pts', '/dev/shm', '/dev/mqueue', '/sys', '/run'],
    );
    assert.equal(spec.linux?.maskedPaths?.length, 11);
  });
  void it('takes the image at its word, and the user before the image', () => {
    const fromImage = makeSpec({ id: 'c', namespace: 'n', image }).process;
    assert.deepEqual(
      [fromImage?.args, fromImage?.cwd, fromImage?.env],
      [['/entry', '-x', 'cmd'], '/work', ['PATH=/image', 'A=1']],
    );
    const wished = makeSpec({ ...base, image, env: ['A=2', 'PATH'], cwd: '/tmp', terminal: true }).process;
    assert.deepEqual(wished?.args, ['/entry', '-x', 'sh']);
    assert.deepEqual(wished?.env, ['A=2', 'TERM=xterm']);
    assert.deepEqual([wished?.cwd, wished?.terminal], ['/tmp', true]);
  });
  void it('limits and opens by option', () => {
    const spec = makeSpec({
      ...base,
      memoryLimitBytes: 1e6,
      cpus: 1.5,
      hostNetwork: true,
      hostname: 'h',
      readOnlyRoot: true,
    });
    assert.deepEqual(spec.linux?.resources?.memory, { limit: 1e6 });
    assert.deepEqual(spec.linux?.resources?.cpu, { quota: 150_000, period: 100_000 });
    assert.ok(!spec.linux?.namespaces?.some(({ type }) => type === 'network'));
    assert.ok(spec.mounts?.some(({ destination }) => destination === '/etc/resolv.conf'));
    assert.deepEqual([spec.hostname, spec.root?.readonly], ['h', true]);
  });
  void it('privileged is all of it', () => {
    const spec = makeSpec({ ...base, privileged: true });
    assert.deepEqual(spec.process?.capabilities?.bounding, allCapabilities);
    assert.equal(spec.linux?.maskedPaths, undefined);
    assert.deepEqual(spec.linux?.resources?.devices, [{ allow: true, access: 'rwm' }]);
    const sys = spec.mounts?.find(({ destination }) => destination === '/sys');
    assert.ok(sys?.options?.includes('rw') && !sys.options.includes('ro'));
  });
  void it('a mount of the user takes the place of a default one', () => {
    const spec = makeSpec({
      ...base,
      mounts: [{ destination: '/run', type: 'bind', source: '/x', options: ['rbind'] }],
    });
    assert.deepEqual(
      spec.mounts?.filter(({ destination }) => destination === '/run').map(({ source }) => source),
      ['/x'],
    );
  });
  void it('adds and drops capabilities', () => {
    const { bounding } =
      makeSpec({ ...base, addCapabilities: ['net_admin'], dropCapabilities: ['ALL', 'CHOWN'] }).process
        ?.capabilities ?? {};
    assert.deepEqual(bounding, ['CAP_NET_ADMIN']);
    assert.throws(
      () => parseCapability('FLY'),
      (error) => hasCode(error, 'InvalidArgument'),
    );
  });
  void it('refuses what cannot run', () => {
    const refused = (error: unknown): boolean => hasCode(error, 'InvalidArgument');
    assert.throws(() => makeSpec({ id: 'c', namespace: 'n' }), refused);
    assert.throws(() => makeSpec({ ...base, cwd: 'relative' }), refused);
    assert.throws(() => makeSpec({ ...base, cpus: 0 }), refused);
  });
  void it('an entrypoint of the user leaves the image command out', () => {
    assert.deepEqual(processArgs({ image, entrypoint: ['/mine'] }), ['/mine']);
    assert.deepEqual(processArgs({ image, entrypoint: ['/mine'], args: ['a'] }), ['/mine', 'a']);
  });
  void it('later variables win in place', () => {
    assert.deepEqual(mergeEnv(['A=1', 'B=2', 'A=3'], ['B=4', 'C']), ['A=3', 'B=4']);
  });
  void it('reads the capabilities of this process', () => {
    assert.deepEqual(parseEffectiveCapabilities('CapEff:\t0000000000000003\n'), [
      'CAP_CHOWN',
      'CAP_DAC_OVERRIDE',
    ]);
  });
});

void describe('resolveUser', () => {
  const passwd = 'root:x:0:0::/:/bin/sh\n# comment\nbroken:x:zero:0\nwww:x:33:34::/:\nwww2:x:1000:1001';
  const group = 'root:x:0:\nstaff:x:50:www,other\nadm:x:4:www\nbad:x:-1:www\n';
  const table: [text: string, uid: number, gid: number, additional: number[]][] = [
    ['', 0, 0, [0]],
    ['www', 33, 34, [34, 50, 4]],
    ['33', 33, 34, [34, 50, 4]],
    ['4242', 4242, 0, [0]],
    ['www:staff', 33, 50, [50]],
    ['7:8', 7, 8, [8]],
    ['www:', 33, 34, [34, 50, 4]],
  ];
  for (const [text, uid, gid, additionalGids] of table)
    void it(`${JSON.stringify(text)} is ${uid}:${gid}`, () =>
      assert.deepEqual(resolveUser(text, passwd, group), { uid, gid, additionalGids }));
  void it('needs no files for numbers', () => {
    assert.deepEqual(resolveUser('1:2', '', ''), { uid: 1, gid: 2, additionalGids: [2] });
  });
  void it('names that are not there are not found', () => {
    for (const text of ['nobody', 'www:nobody', 'broken', '-1', '4294967295'])
      assert.throws(
        () => resolveUser(text, passwd, group),
        (error) => hasCode(error, 'NotFound'),
        text,
      );
    assert.throws(
      () => resolveUser('a:b:c', passwd, group),
      (error) => hasCode(error, 'InvalidArgument'),
    );
  });
});
