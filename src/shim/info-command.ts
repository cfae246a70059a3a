/** `-info`: what this shim is and what its runc can do, as a RuntimeInfo. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { hasCode } from '../base/errors.ts';
import { revision, version } from '../base/version.ts';
import { selectPlatform } from '../platform/select.ts';
import { anyToWire, jsonTypeUrls } from '../wire/any.ts';
import { RuntimeInfoSchema } from '../wire/gen/containerd/types/introspection_pb.js';
import { readOptions } from './process/options.ts';
import { Runc } from './runc/runc.ts';

const featuresMs = 5_000;

/** A RuntimeInfo for stdout; `stdin` may hold the runtime options. Errors: InvalidArgument for options of another runtime. */
export async function infoCommand(stdin: Uint8Array): Promise<Uint8Array> {
  const platform = await selectPlatform();
  const options = stdin.byteLength === 0 ? undefined : fromBinary(AnySchema, stdin);
  const { runc: setup } = readOptions(options, '', '');
  const runc = new Runc(platform, setup);
  const features = await runc.features(AbortSignal.timeout(featuresMs)).catch((error: unknown) => {
    // No runc here: what is known without it is still an answer.
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  });
  return toBinary(
    RuntimeInfoSchema,
    create(RuntimeInfoSchema, {
      name: 'io.containerd.gantry.v1',
      version: { version, revision },
      ...(options === undefined ? {} : { options }),
      ...(features === undefined
        ? {}
        : { features: anyToWire({ typeUrl: jsonTypeUrls.features, value: features }) }),
    }),
  );
}
