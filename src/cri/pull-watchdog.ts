/**
 * Ends a pull that stands still: something is on its way from the registry, and nothing has come for a while. Waiting
 * for somebody else's download of the same blob, and unpacking, is not standing still.
 */
import { canceled } from '../base/errors.ts';
import type { TransferProgress } from '../core/transfer/transfer.ts';

export class PullWatchdog implements Disposable {
  readonly #timeoutMs: number;
  readonly #reference: string;
  readonly #abort = new AbortController();
  /** What is being downloaded; the manifest, which has no name yet, until it is known. */
  readonly #moving = new Set<string>(['']);
  #progressAtMs = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** `timeoutMs` 0 never fires. */
  constructor(reference: string, { timeoutMs }: { readonly timeoutMs: number }) {
    this.#reference = reference;
    this.#timeoutMs = timeoutMs;
    if (timeoutMs > 0) this.#arm(timeoutMs);
  }

  /** Fires with Canceled, as a pull of containerd ends. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  note({ event, name }: TransferProgress): void {
    this.#progressAtMs = performance.now();
    if (event === 'downloading') this.#moving.add(name);
    else if (event === 'complete' || event === 'already exists') this.#moving.delete(name);
    else if (event === 'fetching image content') this.#moving.delete('');
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #arm(delayMs: number): void {
    this.#timer = setTimeout(() => this.#look(), delayMs);
    this.#timer.unref();
  }

  #look(): void {
    const idleMs = performance.now() - this.#progressAtMs;
    if (this.#moving.size === 0) this.#arm(this.#timeoutMs);
    else if (idleMs < this.#timeoutMs) this.#arm(this.#timeoutMs - idleMs);
    else
      this.#abort.abort(
        canceled(
          `nothing has come from the registry of ${this.#reference} for ${this.#timeoutMs} ms (image_pull_progress_timeout)`,
        ),
      );
  }
}
