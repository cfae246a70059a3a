/** Numbers of the CRI's wire, which are 64 bits wide, as numbers of a spec. */
import { invalidArgument } from '../../base/errors.ts';

const highestId = 0xffff_fffen;
const most = BigInt(Number.MAX_SAFE_INTEGER);

/** A user's or group's number. Errors: InvalidArgument. */
export function parseId(value: bigint, what: string): number {
  if (value < 0n || value > highestId)
    throw invalidArgument(`${what} is ${value}, but ids are from 0 to ${highestId}`);
  return Number(value);
}

/** Beyond 2^53 (8 PiB as bytes) a number says "no limit" anyway, and it would not survive JSON: it becomes 2^53-1. */
export const toNumber = (value: bigint): number =>
  Number(value > most ? most : value < -most ? -most : value);
