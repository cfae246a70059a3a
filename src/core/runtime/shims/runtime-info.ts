/** What a runtime says of itself: its shim is asked with `-info` (containerd's runtime v2 README). */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../../../base/any-value.ts';
import { type Context, withTimeout } from '../../../base/context.ts';
import { unknown } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import { childEnvironment } from '../../../platform/child-environment.ts';
import { runCommand } from '../../../platform/command.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { packAny, unpackAny } from '../../../wire/any.ts';
import {
  RuntimeInfoSchema,
  RuntimeRequestSchema,
} from '../../../wire/gen/containerd/types/introspection_pb.js';
import type { ShimProgram } from './foreign-shim.ts';
import { isBuiltIn, shimBinary } from './runtime-name.ts';

export interface RuntimeInfoDependencies {
  readonly processes: ProcessOperations;
}

export interface RuntimeInfoOptions {
  /** The built-in shim. */
  readonly shim: ShimProgram;
  /** Directory beside which shims are looked for when PATH has none. */
  readonly besideDir: string;
}

/**
 * A RuntimeInfo for a RuntimeRequest; its runtime options go to the shim. Errors: InvalidArgument for another request,
 * Unknown in containerd's words when there is no such shim or it fails, DeadlineExceeded.
 */
export async function runtimeInfo(
  { processes }: RuntimeInfoDependencies,
  { shim, besideDir: beside }: RuntimeInfoOptions,
  ctx: Context,
  request: AnyValue,
): Promise<AnyValue> {
  const { runtimePath: name, options } = unpackAny(RuntimeRequestSchema, request);
  if (name === '') throw unknown('failed to resolve runtime path: no runtime name');
  const { file, args } = isBuiltIn(name) ? shim : { file: shimBinary(name, { beside }), args: [] };
  const words = [...args, '-info'];
  const { status, stdout, stderr } = await runCommand(processes, {
    file,
    args: words,
    env: childEnvironment(),
    stdin: options === undefined ? new Uint8Array() : toBinary(AnySchema, options),
    signal: withTimeout(ctx, limits.runtimeInfoMs).signal,
  });
  if (status !== 0) {
    const said = stderr.toString('utf8').trim().slice(0, 4096);
    throw unknown(
      `failed to run [${[file, ...words].join(' ')}]: exit status ${status} (stderr: ${JSON.stringify(said)})`,
    );
  }
  const info = readInfo(stdout, name);
  // The built-in shim goes by several names: it answers by the one that was asked for.
  return packAny(RuntimeInfoSchema, isBuiltIn(name) ? { ...info, name } : info);
}

function readInfo(stdout: Uint8Array, name: string): ReturnType<typeof fromBinary<typeof RuntimeInfoSchema>> {
  try {
    return fromBinary(RuntimeInfoSchema, stdout);
  } catch (error) {
    throw unknown(`the shim of ${name} did not print a RuntimeInfo for -info`, error);
  }
}
