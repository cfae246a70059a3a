/** Quantities as Kubernetes writes them ("10M", "1.5Gi", "500k", "1e6"), for values that fit a safe integer. */
import { invalidArgument } from '../../base/errors.ts';

const decimal = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const binary = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** Rounded up to an integer. Errors: InvalidArgument. */
export function parseQuantity(text: string): number {
  const match =
    /^\+?(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:([eE][+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text);
  const [, digits = '', exponent = '', suffix = ''] = match ?? [];
  const value = match === null ? Number.NaN : Math.ceil(Number(`${digits}${exponent}`) * factorOf(suffix));
  if (!Number.isSafeInteger(value)) throw invalidArgument(`${JSON.stringify(text)} is no quantity`);
  return value;
}

function factorOf(suffix: string): number {
  const power = binary.indexOf(suffix);
  return power === -1 ? 10 ** (3 * (decimal.indexOf(suffix) - 3)) : 1024 ** (power + 1);
}
