/** Connections to shims, one an address; the shared shim's is opened again when it has ended. */
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { SharedShim } from './shared-shim.ts';
import type { ShimAddress } from './shim-address.ts';
import { ShimConnection } from './shim-connection.ts';

export class ShimPool implements AsyncDisposable {
  readonly #shared: SharedShim;
  readonly #connections = new Map<string, ShimConnection>();
  readonly #lock = new KeyedLock();
  readonly #onLost: (shim: ShimConnection) => void;

  /** `onLost` hears of every connection that ended without us. */
  constructor(shared: SharedShim, onLost: (shim: ShimConnection) => void) {
    this.#shared = shared;
    this.#onLost = onLost;
  }

  /** Errors: Unavailable. */
  shared({ signal }: { signal: AbortSignal }): Promise<ShimConnection> {
    return this.#open(this.#shared.address.address, () => this.#shared.connect({ signal }), { signal });
  }

  /** Errors: Unavailable. */
  at(address: ShimAddress, { signal }: { signal: AbortSignal }): Promise<ShimConnection> {
    return this.#open(address.address, () => ShimConnection.open(address, { signal }), { signal });
  }

  /** Open connections. */
  get connections(): readonly ShimConnection[] {
    return [...this.#connections.values()];
  }

  async close(shim: ShimConnection): Promise<void> {
    if (this.#connections.get(shim.address) === shim) this.#connections.delete(shim.address);
    await shim[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#connections.values()].map((shim) => this.close(shim)));
    this.#shared[Symbol.dispose]();
  }

  async #open(
    address: string,
    connect: () => Promise<ShimConnection>,
    { signal }: { signal: AbortSignal },
  ): Promise<ShimConnection> {
    using _turn = await this.#lock.acquire(address, { signal });
    const known = this.#connections.get(address);
    if (known !== undefined) return known;
    const shim = await connect();
    this.#connections.set(address, shim);
    shim.watch(() => {
      if (this.#connections.get(address) === shim) this.#connections.delete(address);
      this.#onLost(shim);
    });
    return shim;
  }
}
