/**
 * Our ttrpc against the implementation that shims are built with: Debian's containerd-shim-runc-v2 answers our client,
 * makes a container by runc, and forwards its events to our server.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ContainerdError } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import { Task } from '../gen/containerd/runtime/task/v2/shim_pb.js';
import { Events } from '../gen/containerd/services/ttrpc/events/v1/events_pb.js';
import { Status } from '../gen/containerd/types/task/task_pb.js';
import { serve } from '../service.ts';
import { UnixListener } from '../unix-listener.ts';
import { connectTtrpc } from './client.ts';
import { TtrpcServer } from './server.ts';

const shim = '/usr/bin/containerd-shim-runc-v2';
const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));
const missing =
  process.getuid?.() === 0 ? [shim, busybox ?? 'busybox'].filter((path) => !existsSync(path)) : ['root'];

const spec = {
  ociVersion: '1.0.2',
  process: { user: { uid: 0, gid: 0 }, args: ['/busybox', 'sh', '-c', 'exit 7'], cwd: '/', env: [] },
  root: { path: 'rootfs' },
  mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
  linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }] },
};

describe('ttrpc with a shim of containerd', () => {
  it('runs a container by it and hears of it', {
    skip: missing.length > 0 && `needs ${missing.join(', ')}`,
  }, async () => {
    const dir = await mkdtemp(join(tmpdir(), 'gantry-shim-'));
    const bundle = join(dir, 'bundle');
    await mkdir(join(bundle, 'rootfs', 'proc'), { recursive: true });
    await copyFile(busybox ?? '', join(bundle, 'rootfs', 'busybox'));
    await writeFile(join(bundle, 'config.json'), JSON.stringify(spec));
    // Where the shim logs to; it does not start without a reader.
    assert.equal(spawnSync('mkfifo', [join(bundle, 'log')]).status, 0);
    await using log = await open(join(bundle, 'log'), 'r+');
    assert(log.fd > 0);
    const topics: string[] = [];
    const exited = Promise.withResolvers<void>();
    const sockets = { peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }), sendDatagram: (): void => {} };
    await using listener = await UnixListener.listen({ sockets }, join(dir, 'events.ttrpc'));
    await using server = new TtrpcServer({
      log: silentLogger,
      services: [
        serve(Events, {
          forward: async (_ctx, { envelope }) => {
            topics.push(`${envelope?.namespace} ${envelope?.topic}`);
            if (envelope?.topic === '/tasks/exit') exited.resolve();
            return {};
          },
        }),
      ],
    });
    server.attach(listener);

    const id = `interop-${process.pid}`;
    const args = ['-namespace', 'gantry-interop', '-id', id, '-address', join(dir, 'none'), 'start'];
    const started = spawnSync(shim, args, {
      cwd: bundle,
      env: { ...process.env, TTRPC_ADDRESS: listener.path },
      encoding: 'utf8',
      timeout: 10_000,
    });
    assert.equal(started.status, 0, started.stderr);
    const connection = await connectTtrpc(started.stdout.trim());
    const task = connection.client(Task);
    const signal = AbortSignal.timeout(10_000);
    try {
      const { shimPid } = await task.connect({ id });
      assert(shimPid > 0);
      await assert.rejects(
        task.state({ id }),
        (error) => error instanceof ContainerdError && error.code === 'NotFound',
      );
      const { pid } = await task.create({ id, bundle }, { signal });
      assert(pid > 0);
      assert.equal((await task.state({ id })).status, Status.CREATED);
      await task.start({ id }, { signal });
      assert.equal((await task.wait({ id }, { signal })).exitStatus, 7);
      await exited.promise;
      assert.equal((await task.delete({ id }, { signal })).exitStatus, 7);
    } finally {
      // The shim ends without an answer when it has nothing left.
      await task.shutdown({ id, now: true }).catch(() => {});
      await connection.closed;
    }
    assert.deepEqual(
      topics.filter((topic) => !topic.endsWith('/delete')),
      ['/tasks/create', '/tasks/start', '/tasks/exit'].map((topic) => `gantry-interop ${topic}`),
    );
    await rm(dir, { recursive: true });
  });
});
