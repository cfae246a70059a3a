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

const oldestVersion = 2;
const newestVersion = 3;

/** Of another program: as it comes. */
interface Answered {
  readonly version?: unknown;
  readonly address?: unknown;
  readonly protocol?: unknown;
}

/** 0 and "" are what is left out. */
const isVersion = (value: unknown): value is number | undefined =>
  value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0);
const isProtocol = (value: unknown): value is string | undefined =>
  value === undefined || typeof value === 'string';

/**
 * Reads what `start` printed: JSON (1.7 to 2.2), protobuf BootstrapResult (2.3), or a bare address (1.6).
 * Errors: Unimplemented for another task API or another protocol than ttrpc; Unknown for anything else.
 */
export function parseShimAnswer(answer: Uint8Array): ShimAddress {
  const address = read(answer);
  if (address.version < oldestVersion || address.version > newestVersion)
    throw unimplemented(
      `the shim speaks task API ${address.version}, this daemon ${oldestVersion} and ${newestVersion}`,
    );
  if (address.protocol !== 'ttrpc')
    throw unimplemented(`the shim speaks ${address.protocol}, this daemon ttrpc`);
  return address;
}

function read(answer: Uint8Array): ShimAddress {
  const text = Buffer.from(answer).toString('utf8').trim();
  if (/^[a-z]+:\/\/\S+$/.test(text)) return { version: oldestVersion, address: text, protocol: 'ttrpc' };
  try {
    const { version, address, protocol }: Answered = text.startsWith('{')
      ? (JSON.parse(text) as Answered)
      : fromBinary(BootstrapResultSchema, answer);
    if (typeof address === 'string' && address !== '' && isVersion(version) && isProtocol(protocol))
      return { version: version || oldestVersion, address, protocol: protocol || 'ttrpc' };
  } catch (error) {
    throw noAddress(text, error);
  }
  throw noAddress(text);
}

const noAddress = (text: string, cause?: unknown): ContainerdError =>
  unknown(`the shim answered ${JSON.stringify(text.slice(0, 200))}, which is no address`, cause);
