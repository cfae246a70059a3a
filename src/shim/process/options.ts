/** The runc options of a create (containerd.runc.v1.Options), read once. */
import { join } from 'node:path';
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import type { AnyValue } from '../../base/any-value.ts';
import { unknown } from '../../base/errors.ts';
import { typeNameOf, unpackAny } from '../../wire/any.ts';
import { OptionsSchema } from '../../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { IoOwner } from '../io/stdio.ts';
import type { RuncSetup } from '../runc/runc-arguments.ts';

/** Where containerd's own shim keeps runc's state. */
export const defaultRuncRoot = '/run/containerd/runc';

export interface CreateOptions {
  readonly runc: RuncSetup;
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
  readonly ioOwner: IoOwner;
  /** A dump to start from; "" for none. */
  readonly criuImagePath: string;
  readonly criuWorkPath: string;
}

/** Errors: Unknown for options of another runtime, as containerd says it; InvalidArgument when they cannot be read. */
export function readOptions(
  options: AnyValue | undefined,
  namespace: string,
  runcRoot: string,
): CreateOptions {
  const given =
    options === undefined || options.typeUrl === ''
      ? undefined
      : unpackOptions(OptionsSchema, options, 'create');
  const root = given === undefined || given.root === '' ? runcRoot : given.root;
  return {
    runc: {
      binary: given === undefined || given.binaryName === '' ? 'runc' : given.binaryName,
      root: join(root === '' ? defaultRuncRoot : root, namespace),
      systemdCgroup: given?.systemdCgroup ?? false,
    },
    noPivotRoot: given?.noPivotRoot ?? false,
    noNewKeyring: given?.noNewKeyring ?? false,
    ioOwner: { uid: given?.ioUid ?? 0, gid: given?.ioGid ?? 0 },
    criuImagePath: given?.criuImagePath ?? '',
    criuWorkPath: given?.criuWorkPath ?? '',
  };
}

/** Of a create or a checkpoint. Errors: as readOptions. */
export function unpackOptions<Schema extends DescMessage>(
  schema: Schema,
  options: AnyValue,
  doing: 'create' | 'checkpoint',
): MessageShape<Schema> {
  if (typeNameOf(options) !== schema.typeName)
    throw unknown(`invalid task ${doing} option for io.containerd.runc.v2`);
  return unpackAny(schema, options);
}
