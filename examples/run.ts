/**
 * Runs a command in a container of an image that is here, shows its output, and removes the container.
 *
 *     node examples/run.ts /run/gantry/gantry.sock docker.io/library/busybox:latest echo hello
 */
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createContainer, makeStreams } from '../src/client/index.ts';

const [address = '/run/gantry/gantry.sock', name = 'docker.io/library/busybox:latest', ...args] =
  process.argv.slice(2);
const id = `example-${process.pid}`;
const snapshotter = 'overlayfs';

await using gantry = connect({ address });
await using undo = new AsyncDisposableStack();

const image = await gantry.images.get(name);
await createContainer({ gantry }, { id, image, snapshotter, user: '0', spec: { args } });
undo.defer(() => gantry.containers.remove(id));
// Before the container goes: the daemon collects a snapshot that no container holds.
undo.defer(() => gantry.snapshots(snapshotter).remove(id));

// Node cannot make FIFOs by itself.
const makeFifo = (path: string, mode: number): void =>
  void execFileSync('mkfifo', ['-m', mode.toString(8), path]);
const streams = await makeStreams(
  { makeFifo, directory: join(tmpdir(), 'gantry-example') },
  { stdin: false, terminal: false },
);
undo.use(streams);

const task = await gantry.tasks.create(id, {
  rootfs: await gantry.snapshots(snapshotter).mounts(id),
  io: streams.paths,
});
undo.defer(async () => void (await task.delete()));
const exited = task.wait();
streams.stdout?.pipe(process.stdout);
streams.stderr?.pipe(process.stderr);
await task.start();
const { exitStatus } = await exited;
await streams.drained(1000);
process.exitCode = exitStatus;
