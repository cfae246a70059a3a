/** CDI: names, files, and what devices change in a spec. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { type CdiDirectories, cdiRegistry, readCdiDirectories } from './cdi-registry.ts';
import { hostReads, listDirectory } from './host-reads.ts';
import { type SpecChanges, testContainer } from './spec.fixture.ts';

const gpu = {
  cdiVersion: '0.6.0',
  kind: 'vendor.com/gpu',
  containerEdits: { env: ['ALL=1'], additionalGids: [0, 44] },
  devices: [
    {
      name: '0',
      containerEdits: {
        env: ['GPU=0'],
        deviceNodes: [
          { path: '/dev/gpu0' },
          { path: '/dev/known', type: 'b', major: 8, minor: 1, permissions: 'r' },
        ],
        mounts: [{ hostPath: '/usr/lib/gpu', containerPath: '/lib/gpu', options: ['ro', 'bind'] }],
        hooks: [{ hookName: 'createContainer', path: '/bin/hook', args: ['hook', 'x'], timeout: 5 }],
      },
    },
    { name: '1', containerEdits: { env: ['GPU=1'] } },
  ],
};
const file = (path: string, document: unknown) => ({ path, bytes: Buffer.from(JSON.stringify(document)) });
const withFiles = (...directories: CdiDirectories): SpecChanges => ({
  context: { cdi: async () => cdiRegistry(directories) },
});
const asked = (...names: string[]) => ({ container: { CDIDevices: names.map((name) => ({ name })) } });
const refusal = (words: RegExp) => (error: Error) => {
  assert.match(error.message, words);
  return hasCode(error, 'InvalidArgument');
};

void describe('CDI', () => {
  void it('puts what a device needs into the spec', async () => {
    const { spec, user } = await testContainer({
      ...withFiles([file('/etc/cdi/gpu.json', gpu)]),
      container: {
        ...asked('vendor.com/gpu=0').container,
        linux: { securityContext: { runAsUser: { value: 1000n } } },
      },
    });
    assert.deepEqual(spec.process?.env?.slice(-2), ['ALL=1', 'GPU=0']);
    assert.deepEqual(user.additionalGids, [1001, 50, 60, 44]);
    assert.deepEqual(spec.linux?.devices, [
      { path: '/dev/gpu0', type: 'c', major: 1, minor: 9, uid: 1000, gid: 1001 },
      { path: '/dev/known', type: 'b', major: 8, minor: 1, uid: 1000, gid: 1001 },
    ]);
    assert.deepEqual(spec.linux?.resources?.devices?.slice(1), [
      { allow: true, type: 'c', access: 'rwm', major: 1, minor: 9 },
      { allow: true, type: 'b', access: 'r', major: 8, minor: 1 },
    ]);
    assert.deepEqual(
      spec.mounts?.find(({ destination }) => destination === '/lib/gpu'),
      {
        destination: '/lib/gpu',
        type: 'bind',
        source: '/usr/lib/gpu',
        options: ['ro', 'bind'],
      },
    );
    assert.deepEqual(spec.hooks, {
      createContainer: [{ path: '/bin/hook', args: ['hook', 'x'], timeout: 5 }],
    });
  });
  void it('takes names from annotations too, each once and the field first', async () => {
    const { spec } = await testContainer({
      ...withFiles([file('/etc/cdi/gpu.json', gpu)]),
      container: {
        ...asked('vendor.com/gpu=1').container,
        annotations: { 'cdi.k8s.io/x': 'vendor.com/gpu=0,vendor.com/gpu=1', other: 'x' },
      },
    });
    assert.equal(spec.process?.env?.at(-1), 'GPU=0');
    assert.equal(spec.process?.env?.filter((entry) => entry === 'ALL=1').length, 1);
  });
  void it('lets a later directory win', async () => {
    const other = { ...gpu, devices: [{ name: '1', containerEdits: { env: ['GPU=later'] } }] };
    const changes = withFiles([file('/etc/cdi/a.json', gpu)], [file('/run/cdi/b.json', other)]);
    const { spec } = await testContainer({ ...changes, ...asked('vendor.com/gpu=1') });
    assert.equal(spec.process?.env?.at(-1), 'GPU=later');
  });
  void it('refuses devices that two files of a directory describe', async () => {
    const changes = withFiles([file('/etc/cdi/a.json', gpu), file('/etc/cdi/b.json', gpu)]);
    await assert.rejects(
      testContainer({ ...changes, ...asked('vendor.com/gpu=1') }),
      refusal(/is in \/etc\/cdi\/a\.json and in/),
    );
  });
  void it('says which files are bad when a device is missing, and uses the good ones', async () => {
    const broken = { path: '/etc/cdi/x.yaml', bytes: Buffer.from('kind: vendor.com/net\n') };
    const changes = withFiles([broken, file('/etc/cdi/gpu.json', gpu)]);
    await testContainer({ ...changes, ...asked('vendor.com/gpu=1') });
    await assert.rejects(
      testContainer({ ...changes, ...asked('vendor.com/net=1') }),
      refusal(
        /unresolvable CDI devices vendor\.com\/net=1 .*x\.yaml is not valid JSON.*write the file as JSON/,
      ),
    );
  });
  for (const [what, document, words] of [
    ['a version', { ...gpu, cdiVersion: '9' }, /cdiVersion "9"/],
    ['a kind', { ...gpu, kind: 'gpu' }, /kind "gpu"/],
    ['a hook', { ...gpu, containerEdits: { hooks: [{ hookName: 'never', path: '/x' }] } }, /no hook of OCI/],
    [
      'a path',
      { ...gpu, containerEdits: { mounts: [{ hostPath: 'x', containerPath: '/x' }] } },
      /absolute path/,
    ],
    ['permissions', { ...gpu, containerEdits: { deviceNodes: [{ path: '/x', permissions: 'z' }] } }, /"rwm"/],
    ['a number', { ...gpu, containerEdits: { additionalGids: [-1] } }, /whole number/],
    ['an environment', { ...gpu, containerEdits: { env: ['x'] } }, /not NAME=value/],
  ] as const)
    void it(`does not use files with a bad form of ${what}`, () => {
      const { devices, problems } = cdiRegistry([[file('/f.json', document)]]);
      assert.equal(devices.size, 0);
      assert.match(problems[0] ?? '', words);
    });
  void it('refuses names that are none', async () => {
    for (const name of ['gpu', 'vendor.com/gpu', 'vendor.com/gpu=', '/gpu=0'])
      await assert.rejects(testContainer(asked(name)), refusal(/must be as "vendor.com\/class=name"/));
  });
  void it('reads the directories that exist', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-cdi-'));
    try {
      await writeFile(join(directory, 'gpu.json'), JSON.stringify(gpu));
      await writeFile(join(directory, 'notes.txt'), 'not a specification');
      const reads = { list: listDirectory, file: hostReads.file };
      const registry = await readCdiDirectories([join(directory, 'absent'), directory], reads);
      assert.deepEqual(
        [[...registry.devices.keys()], registry.problems],
        [['vendor.com/gpu=0', 'vendor.com/gpu=1'], []],
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
