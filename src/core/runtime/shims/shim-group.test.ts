/** Which containers come together, by setting and annotation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupOf, type Sharing } from './shim-group.ts';

const baseDir = '/run/gantry/io.containerd.shim.v1.manager';
const sandbox = { 'io.kubernetes.cri.sandbox-id': 'pod1' };
const group = { 'io.containerd.runc.v2.group': 'pod1' };

const directoryOf = (
  sharing: Sharing,
  id: string,
  {
    annotations = {},
    namespace = 'default',
    shimCgroup = '',
  }: { annotations?: object; namespace?: string; shimCgroup?: string } = {},
): string => {
  const spec = new TextEncoder().encode(JSON.stringify({ annotations }));
  return groupOf({ namespace, id, spec, shimCgroup }, { sharing, baseDir }).directory;
};

test('node: all containers of all namespaces', () => {
  assert.equal(directoryOf('node', 'a'), `${baseDir}/shim`);
  assert.equal(directoryOf('node', 'b', { namespace: 'other', annotations: sandbox }), `${baseDir}/shim`);
});

test('pod: by either annotation, the same group by both; else alone', () => {
  const pod = directoryOf('pod', 'a', { annotations: sandbox });
  assert.equal(directoryOf('pod', 'b', { annotations: group }), pod);
  assert.notEqual(directoryOf('pod', 'a', { annotations: sandbox, namespace: 'other' }), pod);
  assert.notEqual(directoryOf('pod', 'a'), pod);
  assert.equal(directoryOf('pod', 'a'), directoryOf('pod', 'a'));
  assert.notEqual(directoryOf('pod', 'pod1'), pod, 'a container that is called like the pod');
});

test('container, and one that puts its shim into a cgroup: alone', () => {
  assert.notEqual(
    directoryOf('container', 'a', { annotations: sandbox }),
    directoryOf('container', 'b', { annotations: sandbox }),
  );
  const alone = directoryOf('node', 'a', { shimCgroup: '/shims' });
  assert.notEqual(alone, directoryOf('node', 'b', { shimCgroup: '/shims' }));
  assert.notEqual(alone, directoryOf('node', 'a'));
});

test("a socket fits into a path's 108 bytes however long the id is", () => {
  const socket = `${directoryOf('container', 'x'.repeat(76), { namespace: 'n'.repeat(76) })}/sock`;
  assert.ok(socket.length < 108, socket);
});

test('a spec that is no JSON, or has no annotations, is a container without a pod', () => {
  for (const spec of ['', 'null', '{"annotations":[]}', '{"annotations":{"io.kubernetes.cri.sandbox-id":5}}'])
    assert.equal(
      groupOf(
        { namespace: 'default', id: 'a', spec: new TextEncoder().encode(spec), shimCgroup: '' },
        { sharing: 'pod', baseDir },
      ).directory,
      directoryOf('pod', 'a'),
    );
});
