/** Shims that were not written by us, run by the standard shim protocol (containerd's runtime v2 README). */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../../../base/any-value.ts';
import { unknown } from '../../../base/errors.ts';
import { childEnvironment } from '../../../platform/child-environment.ts';
import { runCommand } from '../../../platform/command.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { anyToWire } from '../../../wire/any.ts';
import { BootstrapParamsSchema } from '../../../wire/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.js';
import { DeleteResponseSchema } from '../../../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { instantOf } from '../../../wire/timestamps.ts';
import type { ProcessEnd } from '../task-manager.ts';
import type { Bundle } from '../tasks/bundle.ts';
import { parseShimAnswer, type ShimAddress } from './shim-address.ts';

/** A program and the words that always come first. */
export interface ShimProgram {
  readonly file: string;
  readonly args: readonly string[];
}

/** What a shim is told about the daemon. */
export interface DaemonAddresses {
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** Program that takes `publish`; for shims that do not know ttrpc. */
  readonly publishBinary: string;
  readonly version: string;
}

interface ShimCall {
  readonly program: ShimProgram;
  readonly bundle: Bundle;
  readonly daemon: DaemonAddresses;
  readonly signal: AbortSignal;
}

/**
 * Runs `start` as containerd up to 2.2 does: flags and environment, and the runtime options as an Any on stdin. Later
 * versions write BootstrapParams there, which the shim of 1.6 refuses; a shim that knows only them gets them second.
 * Errors: what the shim printed, as Unknown; as parseShimAnswer.
 */
export async function startForeignShim(
  processes: ProcessOperations,
  call: ShimCall & { readonly options: AnyValue | undefined },
): Promise<ShimAddress> {
  const { options } = call;
  const asAny = options === undefined ? new Uint8Array() : toBinary(AnySchema, anyToWire(options));
  try {
    return parseShimAnswer(await run(processes, call, ['start'], asAny));
  } catch (error) {
    try {
      return parseShimAnswer(await run(processes, call, ['start'], bootstrapParams(call)));
    } catch {
      throw error;
    }
  }
}

function bootstrapParams({
  bundle,
  daemon,
  options,
}: ShimCall & { options: AnyValue | undefined }): Uint8Array {
  return toBinary(
    BootstrapParamsSchema,
    create(BootstrapParamsSchema, {
      instanceId: bundle.id,
      namespace: bundle.namespace,
      containerdVersion: daemon.version,
      containerdTtrpcAddress: daemon.ttrpcAddress,
      containerdGrpcAddress: daemon.grpcAddress,
      containerdBinary: daemon.publishBinary,
      extensions: options === undefined ? [] : [{ value: anyToWire(options) }],
    }),
  );
}

/** Runs `delete`: the clean-up after a shim that is gone. Answers how the container ended, as far as the shim knows. */
export async function deleteByShim(processes: ProcessOperations, call: ShimCall): Promise<ProcessEnd> {
  const answer = await run(processes, call, ['-bundle', call.bundle.path, 'delete']);
  const { pid, exitStatus, exitedAt } = fromBinary(DeleteResponseSchema, answer);
  return { pid, exitStatus, exitedAt: instantOf(exitedAt) };
}

async function run(
  processes: ProcessOperations,
  { program, bundle, daemon, signal }: ShimCall,
  words: readonly string[],
  stdin?: Uint8Array,
): Promise<Buffer> {
  const flags = ['-namespace', bundle.namespace, '-address', daemon.grpcAddress];
  const { status, stdout, stderr } = await runCommand(processes, {
    file: program.file,
    args: [...program.args, ...flags, '-publish-binary', daemon.publishBinary, '-id', bundle.id, ...words],
    cwd: bundle.path,
    env: environment(bundle, daemon),
    ...(stdin !== undefined && { stdin }),
    signal,
  });
  if (status !== 0) {
    const said = `${stderr.toString('utf8')}${stdout.toString('utf8')}`.trim().slice(0, 4096);
    throw unknown(`${program.file} ${words.at(-1)} ended with ${status}: ${said || 'it said nothing'}`);
  }
  return stdout;
}

const environment = (bundle: Bundle, daemon: DaemonAddresses): Record<string, string> =>
  childEnvironment({
    GOMAXPROCS: '2',
    // containerd's own constant, whatever the newest version is.
    MAX_SHIM_VERSION: '2',
    TTRPC_ADDRESS: daemon.ttrpcAddress,
    GRPC_ADDRESS: daemon.grpcAddress,
    NAMESPACE: bundle.namespace,
  });
