/** Names the time since the machine was started: what was written before it and not synced may be lost. */
import { readFileSync } from 'node:fs';

/** Empty where the system has no such name; then nobody can tell. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
