/**
 * Labels on stored objects: bounded, and a label set to "" is a label deleted (containerd's rule).
 * Keys come from clients, so they are never looked up along a prototype.
 */
import { invalidArgument } from './errors.ts';
import { limits } from './limits.ts';

export type Labels = Readonly<Record<string, string>>;

/** `field` is said before the reason, as containerd does. Errors: InvalidArgument when key and value together pass 4096 bytes. */
export function checkLabels(labels: Labels, field: string): void {
  for (const [key, value] of Object.entries(labels)) {
    const sizeBytes = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (sizeBytes > limits.labelBytes)
      throw invalidArgument(
        `${field}: label key and value length (${sizeBytes} bytes) greater than maximum size (${limits.labelBytes} bytes), key: ${key.slice(0, 10)}`,
      );
  }
}

export function withoutEmptyLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ''));
}

export const labelOf = (labels: Labels, key: string): string | undefined =>
  Object.hasOwn(labels, key) ? labels[key] : undefined;

export const withLabel = (labels: Labels, key: string, value: string): Labels =>
  Object.fromEntries([...Object.entries(labels).filter(([name]) => name !== key), [key, value]]);
