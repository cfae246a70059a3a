/** Where a shim serves the task API, and how it says so: three dialects, by the age of the shim. */
import { fromBinary } from '@bufbuild/protobuf';
import { type ContainerdError, unimplemented, unknown } from '../../../base/errors.ts';
import { BootstrapResultSchema } from '../../../wire/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.js';

/** Also the content of bootstrap.json. */
export interface ShimAddress {
  /** Version of the task API: 2 or 3. */
  readonly version: number;
  readonly address: string;
  readonly protocol: string;
}

const newestVersion = 3;

/**
 * Reads what `start` printed: JSON (1.7 to 2.2), protobuf BootstrapResult (2.3), or a bare address (1.6).
 * Errors: Unimplemented for a newer task API or another protocol than ttrpc; Unknown for anything else.
 */
export function parseShimAnswer(answer: Uint8Array): ShimAddress {
  const address = read(answer);
  if (address.version > newestVersion)
    throw unimplemented(`the shim speaks task API ${address.version}, this daemon up to ${newestVersion}`);
  if (address.protocol !== 'ttrpc')
    throw unimplemented(`the shim speaks ${address.protocol}, this daemon ttrpc`);
  return address;
}

function read(answer: Uint8Array): ShimAddress {
  const text = Buffer.from(answer).toString('utf8').trim();
  if (/^[a-z]+:\/\/\S+$/.test(text)) return { version: 2, address: text, protocol: 'ttrpc' };
  try {
    const { version, address, protocol } = text.startsWith('{')
      ? (JSON.parse(text) as Partial<ShimAddress>)
      : fromBinary(BootstrapResultSchema, answer);
    if (typeof address === 'string' && address !== '')
      return { version: version || 2, address, protocol: protocol || 'ttrpc' };
  } catch (error) {
    throw noAddress(text, error);
  }
  throw noAddress(text);
}

const noAddress = (text: string, cause?: unknown): ContainerdError =>
  unknown(`the shim answered ${JSON.stringify(text.slice(0, 200))}, which is no address`, cause);
