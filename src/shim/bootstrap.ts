/**
 * What the starter tells a shim and what it hears back, in the three dialects that are about:
 * - containerd 2.3 and later writes protobuf BootstrapParams to stdin and reads a protobuf BootstrapResult;
 * - 1.7 to 2.2 sets MAX_SHIM_VERSION and reads JSON; stdin may hold the runtime options;
 * - 1.6 and earlier reads a bare address.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../base/any-value.ts';
import { invalidArgument } from '../base/errors.ts';
import {
  type BootstrapParams,
  BootstrapParamsSchema,
  BootstrapResultSchema,
  LogLevel,
} from '../wire/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.js';
import { OptionsSchema } from '../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { ShimArguments } from './arguments.ts';

export type Dialect = 'protobuf' | 'json' | 'address';

export interface Bootstrap {
  readonly dialect: Dialect;
  readonly id: string;
  readonly namespace: string;
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** Where sockets of shims are kept. */
  readonly socketDir: string;
  readonly debug: boolean;
  /** Options of the runtime (containerd.runc.v1.Options); undefined when none came. */
  readonly options: AnyValue | undefined;
}

export const defaultSocketDir = '/run/containerd/s';

/** Errors: InvalidArgument when nobody said which container it is about. */
export function readBootstrap(
  args: ShimArguments,
  env: Readonly<Record<string, string | undefined>>,
  stdin: Uint8Array,
): Bootstrap {
  const params = paramsIn(stdin, args.id);
  const grpcAddress = first(params?.containerdGrpcAddress, args.address, env['GRPC_ADDRESS']);
  const read: Bootstrap = {
    dialect: params !== undefined ? 'protobuf' : env['MAX_SHIM_VERSION'] === undefined ? 'address' : 'json',
    id: first(params?.instanceId, args.id),
    namespace: first(params?.namespace, args.namespace, env['NAMESPACE']),
    grpcAddress,
    ttrpcAddress: first(params?.containerdTtrpcAddress, env['TTRPC_ADDRESS'], `${grpcAddress}.ttrpc`),
    socketDir: first(params?.socketDir, defaultSocketDir),
    debug: args.debug || (params !== undefined && params.logLevel <= LogLevel.DEBUG),
    options: params === undefined ? optionsIn(stdin) : optionsOf(params),
  };
  if (read.id === '' || read.namespace === '')
    throw invalidArgument('a shim is started with -namespace and -id, or with bootstrap parameters on stdin');
  return read;
}

const first = (...candidates: (string | undefined)[]): string =>
  candidates.find((candidate) => candidate !== undefined && candidate !== '') ?? '';

/**
 * Options and parameters are both messages that begin with a string, so the name of the instance tells them apart.
 */
function paramsIn(stdin: Uint8Array, id: string): BootstrapParams | undefined {
  if (stdin.byteLength === 0) return undefined;
  try {
    const params = fromBinary(BootstrapParamsSchema, stdin);
    return params.instanceId !== '' && params.namespace !== '' && (id === '' || params.instanceId === id)
      ? params
      : undefined;
  } catch {
    return undefined;
  }
}

function optionsIn(stdin: Uint8Array): AnyValue | undefined {
  if (stdin.byteLength === 0) return undefined;
  try {
    const any = fromBinary(AnySchema, stdin);
    return any.typeUrl === '' ? undefined : { typeUrl: any.typeUrl, value: any.value };
  } catch {
    return undefined;
  }
}

function optionsOf(params: BootstrapParams): AnyValue | undefined {
  const any = params.extensions.find(({ value }) => value?.typeUrl.endsWith(OptionsSchema.typeName))?.value;
  return any === undefined ? undefined : { typeUrl: any.typeUrl, value: any.value };
}

/**
 * 1.7 refuses a shim that calls itself version 3, and says no more than 2 even where it takes 3; both versions are
 * served, so 2 is right for everybody who does not read protobuf.
 */
export function encodeAnswer(dialect: Dialect, address: string): Uint8Array {
  switch (dialect) {
    case 'protobuf':
      return toBinary(
        BootstrapResultSchema,
        create(BootstrapResultSchema, { version: 3, address, protocol: 'ttrpc' }),
      );
    case 'json':
      return Buffer.from(JSON.stringify({ version: 2, address, protocol: 'ttrpc' }));
    case 'address':
    default:
      return Buffer.from(address);
  }
}
