/**
 * The leases under which transfers work: what one brings in is safe from collection until the image that names it is
 * made. A caller's own lease is used when there is one, and left alone.
 *
 * On success the lease goes; what the image does not name goes with the next collection. After a failure that brought
 * something new the lease stays until it expires, so that a retry finds what was verified: so only as many leases stay
 * as there were new pieces, and the retry that succeeds clears them away.
 */
import { randomBytes } from 'node:crypto';
import { forCleanup, type NamespacedContext, withLease } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { parseLeaseId } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { formatInstant, instantOfMs } from '../../base/time.ts';
import { gcLabels } from '../gc/gc-labels.ts';
import type { LeaseManager } from '../leases/lease-manager.ts';

/** What a lease was made for, so that a later transfer of the same can find it. */
const purposeLabel = 'io.gantry.transfer';

export interface TransferLease {
  readonly ctx: NamespacedContext;
  /** Something was stored that was not there before: worth keeping for a retry. */
  noteProgress(): void;
  /** To be called once, whatever came of it. Never throws: what is left over expires. */
  end(outcome: 'done' | 'failed'): Promise<void>;
}

export class TransferLeases {
  readonly #leases: LeaseManager;
  /** Of transfers that are going on: not to be cleared away by another one's success. */
  readonly #inUse = new Set<string>();

  constructor({ leases }: { leases: LeaseManager }) {
    this.#leases = leases;
  }

  /** `purpose` is the reference or name of what is moved. */
  async take(ctx: NamespacedContext, purpose: string): Promise<TransferLease> {
    if (ctx.lease !== undefined) return this.#foreign(ctx, purpose);
    const expiresAt = instantOfMs(Date.now() + limits.transferLeaseMs);
    const id = parseLeaseId(`transfer-${randomBytes(9).toString('hex')}`);
    const key = `${ctx.namespace} ${id}`;
    // Before others can see it.
    this.#inUse.add(key);
    try {
      await this.#leases.create(ctx, {
        id,
        labels: { [gcLabels.expire]: formatInstant(expiresAt), [purposeLabel]: purpose },
      });
    } catch (error) {
      this.#inUse.delete(key);
      throw error;
    }
    let progressed = false;
    return {
      ctx: withLease(ctx, id),
      noteProgress: () => {
        progressed = true;
      },
      end: async (outcome) => {
        this.#inUse.delete(key);
        if (outcome === 'failed' && progressed) return;
        await this.#clear(ctx, async (cleanup) => {
          await this.#leases.delete(cleanup, id, {});
          if (outcome === 'done') await this.#dropKept(cleanup, purpose);
        });
      },
    };
  }

  /** The caller's own lease stays; what earlier transfers of the same kept is not needed any more. */
  #foreign(ctx: NamespacedContext, purpose: string): TransferLease {
    return {
      ctx,
      noteProgress: () => {},
      end: async (outcome) => {
        if (outcome === 'done') await this.#clear(ctx, (cleanup) => this.#dropKept(cleanup, purpose));
      },
    };
  }

  async #clear(ctx: NamespacedContext, clear: (cleanup: NamespacedContext) => Promise<void>): Promise<void> {
    try {
      await clear(forCleanup(ctx, limits.cleanupMs));
    } catch (error) {
      if (!hasCode(error, 'NotFound'))
        ctx.log.warn({ error: String(error) }, 'lease of a transfer is left to expire');
    }
  }

  /** Leases that failed transfers of the same left behind. */
  async #dropKept(ctx: NamespacedContext, purpose: string): Promise<void> {
    const kept = await this.#leases.list(ctx, [`labels."${purposeLabel}"==${JSON.stringify(purpose)}`]);
    for (const { id } of kept)
      if (!this.#inUse.has(`${ctx.namespace} ${id}`)) await this.#leases.delete(ctx, id, {});
  }
}
