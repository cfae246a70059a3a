import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import {
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerUpdateSchema,
  Field,
  IOPrioClass,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { AdjustmentMerge } from './adjustment-merge.ts';
import { applyAdjustment } from './apply-adjustment.ts';
import { FieldOwners } from './field-owners.ts';
import { UpdateMerge } from './update-merge.ts';

type Asked = MessageInitShape<typeof ContainerAdjustmentSchema>;
const adjustment = (asked: Asked): ContainerAdjustment => create(ContainerAdjustmentSchema, asked);

const container = {
  id: 'c1',
  env: ['A=1', 'B=x=y'],
  annotations: { kept: 'yes', old: 'no' },
  mounts: [{ destination: '/data', type: 'bind', source: '/a' }],
  args: ['sleep'],
};

function merged(...asked: Asked[]): AdjustmentMerge {
  const merge = new AdjustmentMerge(container);
  for (const [at, one] of asked.entries()) merge.add(`0${at}-p`, adjustment(one));
  return merge;
}

const spec: RuntimeSpec = {
  ociVersion: '1.2.0',
  process: { user: { uid: 0, gid: 0 }, cwd: '/', args: ['sleep'], env: ['A=1', 'B=x=y'] },
  annotations: { kept: 'yes', old: 'no' },
  mounts: [{ destination: '/data', type: 'bind', source: '/a' }],
  linux: {
    namespaces: [{ type: 'pid' }, { type: 'network', path: '/proc/1/ns/net' }],
    resources: { memory: { limit: 1 } },
    sysctl: { 'net.a': '1' },
  },
};
const applied = (...asked: Asked[]): RuntimeSpec => applyAdjustment(spec, merged(...asked).adjustment);

describe('several plugins', () => {
  const conflicts: readonly [string, Asked][] = [
    ['an annotation', { annotations: { a: '1' } }],
    ['a mount', { mounts: [{ destination: '/x' }] }],
    ['a variable', { env: [{ key: 'X', value: '1' }] }],
    ['arguments', { args: ['x'] }],
    ['a bound', { rlimits: [{ type: 'RLIMIT_CORE', hard: 1n, soft: 1n }] }],
    ['a CDI device', { CDIDevices: [{ name: 'v/c=d' }] }],
    ['a device', { linux: { devices: [{ path: '/dev/x', type: 'c' }] } }],
    ['memory', { linux: { resources: { memory: { limit: { value: 1n } } } } }],
    ['CPUs', { linux: { resources: { cpu: { cpus: '0' } } } }],
    ['a size of pages', { linux: { resources: { hugepageLimits: [{ pageSize: '2MB', limit: 1n }] } } }],
    ['a file of cgroup v2', { linux: { resources: { unified: { 'memory.high': '1' } } } }],
    ['a cgroup', { linux: { cgroupsPath: '/x' } }],
    ['an OOM score', { linux: { oomScoreAdj: { value: 5n } } }],
    ['a filter', { linux: { seccompPolicy: { defaultAction: 'SCMP_ACT_ALLOW' } } }],
    ['a namespace', { linux: { namespaces: [{ type: 'ipc' }] } }],
    ['a sysctl', { linux: { sysctl: { 'a.b': '1' } } }],
    ['a network device', { linux: { netDevices: { eth0: { name: 'e' } } } }],
    ['a scheduler', { linux: { scheduler: { nice: 1 } } }],
    ['an I/O priority', { linux: { ioPriority: { priority: 1 } } }],
    ['a class of RDT', { linux: { rdt: { closId: { value: 'x' } } } }],
    ['a policy of memory', { linux: { memoryPolicy: { nodes: '0' } } }],
  ];
  for (const [what, asked] of conflicts)
    test(`may not both set ${what}`, () => {
      assert.throws(() => merged(asked, asked), /plugins "00-p" and "01-p" both tried to set /);
    });

  test('may set different things, and the later sees what the earlier set', () => {
    const merge = merged(
      {
        env: [{ key: 'X', value: '1' }],
        annotations: { a: '1' },
        linux: { resources: { cpu: { shares: { value: 7n } } } },
      },
      { env: [{ key: 'Y', value: '2' }], linux: { resources: { memory: { limit: { value: 5n } } } } },
    );
    assert.deepEqual(merge.container.env, ['A=1', 'B=x=y', 'X=1', 'Y=2']);
    assert.equal(merge.container.annotations['a'], '1');
    assert.equal(merge.adjustment.linux?.resources?.cpu?.shares?.value, 7n);
    assert.equal(merge.adjustment.linux?.resources?.memory?.limit?.value, 5n);
    assert.equal(merge.owners.owner('c1', { field: Field.Env, key: 'Y' }), '01-p');
  });

  test('the later may replace what it removes first', () => {
    const merge = merged(
      { env: [{ key: 'X', value: '1' }], mounts: [{ destination: '/x' }], args: ['one'] },
      {
        env: [{ key: '-X' }, { key: 'X', value: '2' }],
        mounts: [{ destination: '-/x' }, { destination: '/x', source: '/new' }],
        args: ['', 'two'],
      },
    );
    assert.deepEqual(merge.container.env, ['A=1', 'B=x=y', 'X=2']);
    assert.deepEqual(merge.container.args, ['two']);
    assert.equal(merge.container.mounts.find(({ destination }) => destination === '/x')?.source, '/new');
    assert.equal(merge.owners.owner('c1', { field: Field.Mounts, key: '/x' }), '01-p');
  });

  test('hooks add up, and all own them', () => {
    const hooks = { poststop: [{ path: '/bin/true' }] };
    const merge = merged({ hooks }, { hooks });
    assert.equal(merge.adjustment.hooks?.poststop.length, 2);
    assert.equal(merge.owners.owner('c1', { field: Field.OciHooks }), '00-p,01-p');
  });

  test('a key that every object has is a key like any other', () => {
    const annotations = Object.fromEntries([['constructor', 'x']]);
    const merge = merged({ annotations });
    assert.deepEqual(Object.entries(merge.adjustment.annotations), [['constructor', 'x']]);
  });

  test('whatever plugins with keys of their own set, the specification has it all, and nothing else changes', () => {
    const words = fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), fc.string(), { maxKeys: 4 });
    fc.assert(
      fc.property(fc.array(words, { maxLength: 4 }), (plugins) => {
        const own = plugins.map((entries, at) =>
          Object.fromEntries(Object.entries(entries).map(([key, value]) => [`${at}${key}`, value])),
        );
        const after = applied(...own.map((annotations) => ({ annotations })));
        const wanted = { ...spec.annotations };
        assert.deepEqual({ ...after.annotations }, Object.assign(wanted, ...own));
        assert.deepEqual(after.process?.env, spec.process?.env);
      }),
    );
  });

  test('of any sets and removals of one variable, the last one to have a say decides', () => {
    const step = fc.record({
      remove: fc.boolean(),
      value: fc.option(fc.stringMatching(/^[a-z]{1,4}$/), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 5 }), (steps) => {
        let wanted: string | undefined = '1';
        let owner: number | undefined;
        let isConflict = false;
        for (const [at, { remove, value }] of steps.entries()) {
          if (remove) [wanted, owner] = [undefined, undefined];
          if (value === undefined) continue;
          isConflict ||= owner !== undefined;
          [wanted, owner] = [value, at];
        }
        const asked = steps.map(({ remove, value }) => ({
          env: [...(remove ? [{ key: '-A' }] : []), ...(value === undefined ? [] : [{ key: 'A', value }])],
        }));
        if (isConflict) assert.throws(() => merged(...asked));
        else
          assert.deepEqual(
            applied(...asked).process?.env?.filter((line) => line.startsWith('A=')),
            wanted === undefined ? [] : [`A=${wanted}`],
          );
      }),
    );
  });
});

describe('the specification', () => {
  test('loses what is removed', () => {
    const after = applied({
      annotations: { '-old': '' },
      mounts: [{ destination: '-/data' }],
      env: [{ key: '-A' }],
      linux: { namespaces: [{ type: '-network' }], sysctl: { '-net.a': '' } },
    });
    assert.deepEqual(after.annotations, { kept: 'yes' });
    assert.deepEqual(after.mounts, []);
    assert.deepEqual(after.process?.env, ['B=x=y']);
    assert.deepEqual(after.linux?.namespaces, [{ type: 'pid' }]);
    assert.deepEqual(after.linux?.sysctl, {});
  });

  test('gets what is set, in its own words', () => {
    const after = applied({
      args: ['new'],
      mounts: [
        { destination: '/x/y' },
        { destination: '/x', type: 'bind', source: '/s', options: ['rslave'] },
      ],
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 2n ** 64n - 1n, soft: 5n }],
      hooks: { createRuntime: [{ path: '/bin/hook', args: ['hook'], timeout: { value: 3n } }] },
      linux: {
        devices: [{ path: '/dev/x', type: 'c', major: 1n, minor: 3n, fileMode: { value: 0o600 } }],
        resources: {
          memory: { disableOomKiller: { value: true } },
          pids: { limit: 9n },
          rdtClass: { value: 'gold' },
        },
        cgroupsPath: '/pod/c1',
        oomScoreAdj: { value: -5n },
        ioPriority: { class: IOPrioClass.IOPRIO_CLASS_RT, priority: 4 },
        scheduler: {
          policy: LinuxSchedulerPolicy.SCHED_BATCH,
          flags: [LinuxSchedulerFlag.SCHED_FLAG_RESET_ON_FORK],
        },
        seccompPolicy: { defaultAction: 'SCMP_ACT_ERRNO', defaultErrno: { value: 1 } },
        netDevices: { eth1: { name: 'net1' } },
      },
    });
    assert.deepEqual(after.process?.args, ['new']);
    assert.deepEqual(
      after.mounts?.map(({ destination }) => destination),
      ['/data', '/x', '/x/y'],
    );
    assert.equal(after.linux?.rootfsPropagation, 'rslave');
    assert.deepEqual(after.process?.rlimits, [
      { type: 'RLIMIT_NOFILE', hard: Number.MAX_SAFE_INTEGER, soft: 5 },
    ]);
    assert.deepEqual(after.hooks, {
      createRuntime: [{ path: '/bin/hook', args: ['hook'], env: [], timeout: 3 }],
    });
    assert.equal(after.process?.oomScoreAdj, -5);
    const { linux, process } = JSON.parse(JSON.stringify(after)) as Record<string, Record<string, unknown>>;
    assert.deepEqual(process?.['ioPriority'], { class: 'IOPRIO_CLASS_RT', priority: 4 });
    assert.equal((process?.['scheduler'] as Record<string, unknown> | undefined)?.['policy'], 'SCHED_BATCH');
    assert.deepEqual(linux?.['devices'], [
      { path: '/dev/x', type: 'c', major: 1, minor: 3, fileMode: 0o600 },
    ]);
    assert.deepEqual(linux?.['resources'], {
      memory: { limit: 1, disableOOMKiller: true },
      pids: { limit: 9 },
      devices: [{ allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' }],
    });
    assert.deepEqual(linux?.['intelRdt'], { closID: 'gold' });
    assert.deepEqual(linux?.['seccomp'], {
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 1,
      syscalls: [],
    });
    assert.deepEqual(linux?.['netDevices'], { eth1: { name: 'net1' } });
    assert.equal(linux?.['cgroupsPath'], '/pod/c1');
  });

  test('is not made of what it cannot say', () => {
    assert.throws(() => applied({ mounts: [{ destination: 'x' }] }), /not an absolute path/);
    assert.throws(() => applied({ hooks: { prestart: [{ path: 'x' }] } }), /not an absolute path/);
    assert.throws(() => applied({ linux: { namespaces: [{ type: 'x' }] } }), /namespace of type/);
    assert.throws(() => applied({ linux: { resources: { blockioClass: { value: 'x' } } } }), /not supported/);
    const args = [{ value: 2n ** 64n - 1n, op: 'SCMP_CMP_EQ' }];
    assert.throws(() => applied({ linux: { seccompPolicy: { syscalls: [{ args }] } } }), /2\^53/);
  });
});

describe('updates of other containers', () => {
  const limit = (value: bigint, ignoreFailure = false) =>
    create(ContainerUpdateSchema, {
      containerId: 'other',
      ignoreFailure,
      linux: { resources: { memory: { limit: { value } } } },
    });

  test('are merged by container, and one that may fail is left out when it is at odds', () => {
    const merge = new UpdateMerge(new FieldOwners());
    merge.add('00-a', [limit(1n)]);
    merge.add('01-b', [limit(2n, true)]);
    const cpus = { containerId: 'other', linux: { resources: { cpu: { cpus: '0-1' } } } };
    merge.add('01-b', [create(ContainerUpdateSchema, cpus)]);
    assert.equal(merge.updates.length, 1);
    assert.equal(merge.updates[0]?.linux?.resources?.memory?.limit?.value, 1n);
    assert.equal(merge.updates[0]?.linux?.resources?.cpu?.cpus, '0-1');
    assert.throws(() => merge.add('02-c', [limit(3n)]), /"00-a" and "02-c" both tried to set MemLimit/);
  });

  test('cannot be of the container that is being made', () => {
    const merge = new UpdateMerge(new FieldOwners());
    assert.throws(() => merge.add('00-a', [limit(1n)], 'other'), /while it is created/);
  });
});
