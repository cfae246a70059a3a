import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseContainerId, parseNamespace } from '../../../base/identifiers.ts';
import { silentLogger } from '../../../base/logger.ts';
import { selectPlatform } from '../../../platform/select.ts';
import { needsRoot } from '../../../testing/needs-root.ts';
import { BundleStore } from './bundle.ts';

const namespace = parseNamespace('bundles');
const id = parseContainerId('one');
const spec = Buffer.from('{"ociVersion":"1.1.0"}');
const builtIn = { shimPath: '' };

async function makeStore(t: TestContext) {
  const platform = await selectPlatform();
  const directory = await mkdtemp(join(tmpdir(), 'gantry-bundle-'));
  const [root, state] = [join(directory, 'root'), join(directory, 'state')];
  for (const path of [root, state]) mkdirSync(path, { mode: 0o711 });
  const store = new BundleStore({ mounts: platform.mounts, log: silentLogger }, { root, state });
  t.after(async () => {
    await store[Symbol.asyncDispose]();
    platform.mounts.unmountAll(directory, { lazy: true });
    await rm(directory, { recursive: true });
  });
  return { platform, directory, root, state, store };
}

const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

void test('the layout that shims rely on, closed to others', async (t) => {
  const { store, root, state } = await makeStore(t);
  const bundle = store.create(namespace, id, spec, { shimPath: '/opt/shim' });
  assert.equal(bundle.path, join(state, namespace, id));
  assert.equal(modeOf(bundle.path), 0o700);
  assert.equal(modeOf(join(bundle.path, 'rootfs')), 0o711);
  assert.equal(readlinkSync(join(bundle.path, 'work')), join(root, namespace, id));
  assert.deepEqual(readFileSync(join(bundle.path, 'config.json')), spec);
  assert.deepEqual(await store.runtime(bundle), { shimPath: '/opt/shim' });
  assert.equal(await store.address(bundle), undefined);
  const address = { version: 3, address: 'unix:///s', protocol: 'ttrpc' };
  store.saveAddress(bundle, address);
  assert.deepEqual(await store.address(bundle), address);
  assert.throws(() => store.create(namespace, id, spec, builtIn), { code: 'AlreadyExists' });
  assert.deepEqual(await store.address(bundle), address, 'the second create touched the first');
  store.remove(bundle);
  assert.ok(!existsSync(bundle.path) && !existsSync(join(root, namespace, id)));
  store.remove(bundle);
});

void test('a user namespace: its root may enter', { skip: needsRoot('it gives files away') }, async (t) => {
  const { store } = await makeStore(t);
  const mapped = Buffer.from(
    JSON.stringify({ linux: { gidMappings: [{ containerID: 0, hostID: 4242, size: 10 }] } }),
  );
  const { path } = store.create(namespace, id, mapped, builtIn);
  assert.equal(modeOf(path), 0o710);
  assert.deepEqual([lstatSync(path).uid, lstatSync(path).gid], [0, 4242]);
});

void test('the address of a shim that containerd 1.6 left', async (t) => {
  const { store } = await makeStore(t);
  const bundle = store.create(namespace, id, spec, builtIn);
  writeFileSync(join(bundle.path, 'address'), 'unix:///run/containerd/s/old');
  assert.deepEqual(await store.address(bundle), {
    version: 2,
    address: 'unix:///run/containerd/s/old',
    protocol: 'ttrpc',
  });
});

void test('removal unmounts before it removes, and follows no link', {
  skip: needsRoot('it gives files away'),
}, async (t) => {
  const { store, platform, directory } = await makeStore(t);
  const data = join(directory, 'data');
  mkdirSync(data);
  writeFileSync(join(data, 'precious'), 'x');
  const bundle = store.create(namespace, id, spec, builtIn);
  const mount = { type: 'bind', source: data, target: '', options: ['bind'] };
  platform.mounts.mount(mount, join(bundle.path, 'rootfs'));
  symlinkSync(data, join(bundle.path, 'link'));
  store.remove(bundle);
  assert.ok(!existsSync(bundle.path));
  await store[Symbol.asyncDispose]();
  assert.equal(readFileSync(join(data, 'precious'), 'utf8'), 'x');
});

void test('what a crash left goes, mounted or not; bundles stay', {
  skip: needsRoot('it gives files away'),
}, async (t) => {
  const { store, platform, directory, root, state } = await makeStore(t);
  const data = join(directory, 'data');
  mkdirSync(data);
  writeFileSync(join(data, 'precious'), 'x');
  const kept = store.create(namespace, id, spec, builtIn);
  const halfRemoved = join(state, namespace, '.two.removed');
  mkdirSync(join(halfRemoved, 'rootfs'), { recursive: true });
  platform.mounts.mount(
    { type: 'bind', source: data, target: '', options: ['bind'] },
    join(halfRemoved, 'rootfs'),
  );
  const orphan = join(root, namespace, 'three');
  mkdirSync(orphan, { recursive: true });
  assert.deepEqual(await store.list(), [kept]);
  assert.ok(!existsSync(halfRemoved) && !existsSync(orphan));
  assert.ok(existsSync(join(root, namespace, id)));
  assert.equal(readFileSync(join(data, 'precious'), 'utf8'), 'x');
});

void test('the name is free at once, and what had it goes by and by', async (t) => {
  const { store, root, state } = await makeStore(t);
  for (let round = 0; round < 3; round += 1) {
    const bundle = store.create(namespace, id, spec, builtIn);
    writeFileSync(join(root, namespace, id, 'dump'), 'x');
    store.remove(bundle);
  }
  const kept = store.create(namespace, id, spec, builtIn);
  assert.deepEqual(readdirSync(join(kept.path, 'work')), []);
  await store[Symbol.asyncDispose]();
  for (const directory of [root, state]) assert.deepEqual(readdirSync(join(directory, namespace)), [id]);
  assert.deepEqual(await store.list(), [kept]);
});

void test('what was mounted while the bundle was removed is let go of and stays whole', {
  skip: needsRoot('it mounts'),
}, async (t) => {
  const { platform, directory, root, state } = await makeStore(t);
  const data = join(directory, 'data');
  mkdirSync(data);
  writeFileSync(join(data, 'precious'), 'x');
  const { mounts } = platform;
  let calls = 0;
  const store = new BundleStore(
    {
      log: silentLogger,
      mounts: {
        unmountAll: (target, options) => {
          mounts.unmountAll(target, options);
          calls += 1;
          if (calls === 1)
            mounts.mount(
              { type: 'bind', source: data, target: '', options: ['bind'] },
              join(target, 'rootfs'),
            );
        },
      },
    },
    { root, state },
  );
  store.remove(store.create(namespace, id, spec, builtIn));
  await store[Symbol.asyncDispose]();
  assert.equal(readFileSync(join(data, 'precious'), 'utf8'), 'x');
  assert.deepEqual(readdirSync(join(state, namespace)), []);
});

void test('a saved address that is none is refused', async (t) => {
  const { store } = await makeStore(t);
  const bundle = store.create(namespace, id, spec, builtIn);
  writeFileSync(
    join(bundle.path, 'bootstrap.json'),
    '{"version":9,"address":"unix:///s","protocol":"ttrpc"}',
  );
  await assert.rejects(store.address(bundle), { code: 'Unimplemented' });
  writeFileSync(join(bundle.path, 'bootstrap.json'), '{"address":7}');
  await assert.rejects(store.address(bundle), { code: 'Unknown' });
});
