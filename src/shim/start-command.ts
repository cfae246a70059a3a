/**
 * `start`: finds or makes the shim process of a container's group and says where it listens. Run by the daemon with the
 * bundle as working directory.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { wrap } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { shimGroupName } from '../oci/shim-group.ts';
import { childEnvironment } from '../platform/child-environment.ts';
import { sharedCompileCache } from '../platform/compile-cache.ts';
import type { Platform, StdioTarget } from '../platform/platform.ts';
import { spawnUntilReady } from '../platform/ready-process.ts';
import { selectPlatform } from '../platform/select.ts';
import { unpackAny } from '../wire/any.ts';
import { OptionsSchema } from '../wire/gen/containerd/types/runc/options/oci_pb.js';
import { pipeReader } from '../wire/pipe.ts';
import { connectTtrpc } from '../wire/ttrpc/client.ts';
import type { ShimArguments } from './arguments.ts';
import { type Bootstrap, encodeAnswer, readBootstrap } from './bootstrap.ts';
import { readSpec } from './bundle/spec.ts';
import { Descriptors } from './io/descriptors.ts';

const stdinBytesMax = limits.ttrpcMessageBytes;
const probeMs = 1_000;

/** The answer for stdout. */
export async function startCommand(
  args: ShimArguments,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Uint8Array> {
  const bootstrap = readBootstrap(args, env, readStdin());
  const platform = await selectPlatform();
  const bundle = args.bundle === '' ? process.cwd() : args.bundle;
  const group = shimGroupName(readSpec(bundle).annotations) ?? bootstrap.id;
  const socket = socketPath(bootstrap, group);
  const address = `unix://${socket}`;
  if (!(await answers(address))) await startServing(platform, { bootstrap, bundle, socket, args });
  // Where containerd before 1.7 looks after its restart.
  writeFileSync(join(bundle, 'address'), address, { mode: 0o600 });
  return encodeAnswer(bootstrap.dialect, address);
}

function socketPath({ socketDir, grpcAddress, namespace }: Bootstrap, group: string): string {
  const name = createHash('sha256')
    .update(join(grpcAddress, namespace, group))
    .digest('hex');
  return join(socketDir, name);
}

/** Everything on stdin, up to a bound; nothing when it is a terminal. */
export function readStdin(): Uint8Array {
  if (process.stdin.isTTY) return new Uint8Array();
  const buffer = Buffer.alloc(64 * 1024);
  const chunks: Buffer[] = [];
  for (let size = 0; size < stdinBytesMax; ) {
    const count = readSync(0, buffer);
    if (count === 0) break;
    size += count;
    chunks.push(Buffer.from(buffer.subarray(0, count)));
  }
  return Buffer.concat(chunks);
}

async function answers(address: string): Promise<boolean> {
  try {
    await using _connection = await connectTtrpc(address, { signal: AbortSignal.timeout(probeMs) });
    return true;
  } catch {
    return false;
  }
}

interface Serving {
  readonly bootstrap: Bootstrap;
  readonly bundle: string;
  readonly socket: string;
  readonly args: ShimArguments;
}

async function startServing(platform: Platform, serving: Serving): Promise<void> {
  const { bootstrap, bundle, socket, args } = serving;
  mkdirSync(bootstrap.socketDir, { recursive: true, mode: 0o711 });
  using fds = new Descriptors();
  try {
    await spawnUntilReady(
      { platform, readPipe: pipeReader },
      {
        file: process.execPath,
        args: [
          ...process.execArgv,
          process.argv[1] as string,
          ...['-namespace', bootstrap.namespace, '-id', bootstrap.id, '-address', bootstrap.grpcAddress],
          ...['-publish-binary', args.publishBinary, '-socket', socket],
          // Beside the socket, which has its name from the group: the next shim of the group takes its containers over.
          ...['-held', `${socket}.held`],
          ...(bootstrap.debug ? ['-debug'] : []),
          'serve',
        ],
        env: childEnvironment({
          ...sharedCompileCache(),
          TTRPC_ADDRESS: bootstrap.ttrpcAddress,
          GRPC_ADDRESS: bootstrap.grpcAddress,
        }),
        log: openLog(platform, bundle, fds),
        cgroup: shimCgroupOf(bootstrap),
        oomScoreAdjust: Number(readFileSync('/proc/self/oom_score_adj', 'utf8')) + 1,
      },
      { signal: AbortSignal.timeout(limits.shimAdoptMs) },
    );
  } catch (error) {
    // Another start of the same group may have been first, and then its shim is ours too.
    if (!(await answers(`unix://${socket}`))) throw wrap('the shim did not start', error);
  }
}

function shimCgroupOf({ options }: Bootstrap): string {
  return options?.typeUrl.endsWith(OptionsSchema.typeName) === true
    ? unpackAny(OptionsSchema, options).shimCgroup
    : '';
}

/** The FIFO from which containerd copies a shim's log into its own. */
function openLog(platform: Platform, bundle: string, fds: Descriptors): StdioTarget {
  try {
    // For both directions, so that writing goes on when the daemon has gone.
    return fds.own(platform.files.openFifo(join(bundle, 'log'), 'read-write', { nonBlocking: true }));
  } catch {
    return 'null';
  }
}
