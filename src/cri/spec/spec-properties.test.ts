/** What holds for every spec, whatever is asked: properties over generated words. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { ContainerdError } from '../../base/errors.ts';
import { allCapabilities } from '../../oci/capabilities.ts';
import { cgroupPath } from './cgroup-path.ts';
import { processCapabilities } from './process-capabilities.ts';
import { containerEnv } from './process-words.ts';
import { defaultSeccomp } from './seccomp-default.ts';
import { selinuxLabels } from './selinux.ts';
import { testContainer } from './spec.fixture.ts';
import { passedThrough } from './spec-annotations.ts';
import { byDepth } from './standard-mounts.ts';

const names = fc.array(fc.constantFrom('ALL', 'all', ...allCapabilities, 'net_admin'), { maxLength: 6 });
const path = fc
  .array(fc.constantFrom('a', 'b', 'c', '..', '.'), { maxLength: 4 })
  .map((parts) => `/${parts.join('/')}`);

void describe('properties of specs', () => {
  void it('capabilities: what is dropped is gone, ambient ones are permitted and inheritable', () => {
    fc.assert(
      fc.property(names, names, names, (addCapabilities, dropCapabilities, addAmbientCapabilities) => {
        const made = processCapabilities({
          capabilities: { addCapabilities, dropCapabilities, addAmbientCapabilities },
          privileged: false,
        });
        const bounding = made.bounding ?? [];
        assert.equal(new Set(bounding).size, bounding.length);
        for (const name of dropCapabilities) assert.ok(!bounding.includes(name));
        for (const name of made.ambient ?? []) assert.ok(bounding.includes(name));
        assert.deepEqual(made.ambient, made.inheritable);
      }),
    );
  });
  void it('seccomp: more capabilities never forbid a call that was allowed without condition', () => {
    const host = { kernel: { major: 6, minor: 1 }, architecture: 'amd64' };
    const allowed = (capabilities: readonly string[]) =>
      new Set(
        defaultSeccomp(capabilities, host).syscalls?.flatMap(({ names: calls, action, args }) =>
          action === 'SCMP_ACT_ALLOW' && args === undefined ? calls : [],
        ),
      );
    fc.assert(
      fc.property(fc.subarray([...allCapabilities]), fc.subarray([...allCapabilities]), (few, more) => {
        assert.ok(allowed(few).isSubsetOf(allowed([...few, ...more])));
      }),
    );
  });
  void it('environment: each name once, and the container’s own value for its own names', () => {
    const name = fc.constantFrom('PATH', 'HOSTNAME', 'A', 'B', 'TERM');
    fc.assert(
      fc.property(fc.array(name), fc.array(fc.tuple(name, fc.constantFrom('', '1', 'x=y'))), (image, own) => {
        const envs = own.map(([key, value]) => ({ key, value: Buffer.from(value) }));
        const env = containerEnv({ envs, tty: false }, { env: image.map((key) => `${key}=i`) }, 'h');
        const keys = env.map((entry) => entry.slice(0, entry.indexOf('=')));
        assert.equal(new Set(keys).size, keys.length);
        for (const [key, value] of new Map(own)) assert.ok(env.includes(`${key}=${value}`));
      }),
    );
  });
  void it('mounts: none comes before one that would hide it', () => {
    const mounts = fc.array(path.map((destination) => ({ destination })));
    fc.assert(
      fc.property(mounts, (given) => {
        const sorted = byDepth(given);
        const depths = sorted.map(
          ({ destination }) => new URL(destination, 'file:').pathname.split('/').filter(Boolean).length,
        );
        assert.deepEqual(
          depths,
          depths.toSorted((one, other) => one - other),
        );
        assert.equal(sorted.length, given.length);
      }),
    );
  });
  void it('cgroup path: stays below the parent, or is refused', () => {
    fc.assert(
      fc.property(path, (parent) => {
        try {
          assert.ok(cgroupPath(parent, { id: 'ID', namespace: 'n' }).endsWith('/ID'));
        } catch (error) {
          assert.ok(parent.includes('..') && ContainerdError.from(error).code === 'InvalidArgument');
        }
      }),
    );
  });
  void it('SELinux: labels have the level, whatever else is said, or the words are refused', () => {
    const word = fc.constantFrom('', 'u', 'a:b', 's0', 's0:c1,c2', 's0-s1:c1.c5', 'x y');
    const facts = {
      processLabel: 'u:r:t:s0',
      fileLabel: 'u:o:f:s0',
      vmProcessLabel: 'u:r:k:s0',
      uniqueLevel: () => 's0:c9',
    };
    fc.assert(
      fc.property(word, word, word, word, (user, role, type, level) => {
        try {
          const labels = selinuxLabels({ user, role, type, level }, { facts, vmBased: false });
          for (const label of [labels.process, labels.mount])
            assert.ok(label.endsWith(`:${level || 's0:c9'}`));
        } catch (error) {
          assert.equal(ContainerdError.from(error).code, 'InvalidArgument');
        }
      }),
    );
  });
  void it('annotations: a glob is a glob, whatever it is made of', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (key, glob) => {
        assert.deepEqual(
          passedThrough({ [key]: '' }, ['*', '*/*', '*/*/*']),
          key.split('/').length > 3 ? {} : { [key]: '' },
        );
        passedThrough({ [key]: '' }, [glob]);
        const quoted = key.replace(/[\\*?[\]]/g, '\\$&');
        assert.deepEqual(Object.keys(passedThrough({ [key]: '' }, [quoted])), Object.keys({ [key]: '' }));
      }),
    );
  });
  void it('containers: words of strangers make a spec or are refused as such', async () => {
    const text = fc.oneof(fc.string(), fc.constantFrom('', '/', '/a', 'localhost/', 'runtime/default'));
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { maxLength: 12 }),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        async (words, number) => {
          const [a = '', b = '', c = '', d = '', e = '', f = ''] = words;
          const container = {
            command: [a],
            workingDir: b,
            mounts: [{ containerPath: c, hostPath: d }],
            CDIDevices: [{ name: e }],
            linux: {
              resources: { memoryLimitInBytes: number, oomScoreAdj: number, cpusetCpus: f },
              securityContext: {
                runAsUser: { value: number },
                seccompProfilePath: a,
                capabilities: { addCapabilities: [b] },
              },
            },
          };
          const made = await testContainer({ container }).catch((error: unknown) =>
            ContainerdError.from(error),
          );
          if (made instanceof ContainerdError) assert.equal(made.code, 'InvalidArgument', made.message);
          else assert.equal(JSON.parse(JSON.stringify(made.spec)).ociVersion, '1.1.0');
        },
      ),
    );
  });
});
