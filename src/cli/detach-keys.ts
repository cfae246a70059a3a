/** Ctrl-P Ctrl-Q in what is typed: leaves the container running. A lone Ctrl-P is passed on with what follows it. */
const ctrlP = 0x10;
const ctrlQ = 0x11;

export class DetachKeys {
  #held = false;

  /** What goes on to the process; nothing more is read once `detached`. */
  feed(typed: Uint8Array): { forward: Uint8Array; detached: boolean } {
    const forward: number[] = [];
    for (const byte of typed) {
      if (this.#held && byte === ctrlQ) {
        this.#held = false;
        return { forward: Uint8Array.from(forward), detached: true };
      }
      if (this.#held) forward.push(ctrlP);
      this.#held = byte === ctrlP;
      if (!this.#held) forward.push(byte);
    }
    return { forward: Uint8Array.from(forward), detached: false };
  }
}
