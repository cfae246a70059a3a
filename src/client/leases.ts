/** Leases: what a call makes under one is kept from the garbage collector until the lease goes. */
import { randomBytes } from 'node:crypto';
import { hasCode } from '../base/errors.ts';
import type { Labels } from '../base/labels.ts';
import { limits } from '../base/limits.ts';
import type { Instant } from '../base/time.ts';
import { Leases } from '../wire/gen/containerd/services/leases/v1/leases_pb.js';
import { knownInstantOf } from './convert.ts';
import type { Call, Scope } from './scope.ts';

export interface LeaseInfo {
  readonly id: string;
  readonly createdAt: Instant;
  readonly labels: Labels;
}

/** A lease that ends with its block: `await using lease = await gantry.leases.hold()`. */
export interface HeldLease extends AsyncDisposable {
  readonly id: string;
}

export class LeasesClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** A random id when none is given. Errors: AlreadyExists, InvalidArgument. */
  async create(lease: { id?: string; labels?: Labels } = {}, call?: Call): Promise<LeaseInfo> {
    const id = lease.id ?? `gantry-${randomBytes(12).toString('hex')}`;
    const answer = await this.#scope
      .client(Leases)
      .create({ id, labels: { ...lease.labels } }, this.#scope.options(call));
    return { id, createdAt: knownInstantOf(answer.lease?.createdAt), labels: answer.lease?.labels ?? {} };
  }

  /** A lease for a piece of work; should this process die, it goes after `expiresMs` (an hour by default). */
  async hold({ expiresMs = 3_600_000, ...call }: Call & { expiresMs?: number } = {}): Promise<HeldLease> {
    const expires = new Date(Date.now() + expiresMs).toISOString();
    const { id } = await this.create({ labels: { 'containerd.io/gc.expire': expires } }, call);
    return {
      id,
      [Symbol.asyncDispose]: async () => {
        try {
          await this.remove(id, { signal: AbortSignal.timeout(limits.cleanupMs) });
        } catch (error) {
          if (!hasCode(error, 'NotFound')) throw error;
        }
      },
    };
  }

  /** Filters over id and labels. */
  async list(filters: readonly string[] = [], call?: Call): Promise<LeaseInfo[]> {
    const { leases } = await this.#scope
      .client(Leases)
      .list({ filters: [...filters] }, this.#scope.options(call));
    return leases.map(({ id, createdAt, labels }) => ({ id, createdAt: knownInstantOf(createdAt), labels }));
  }

  /** `type` is content, ingests, images or snapshots/NAME. Adding twice is not an error. Errors: NotFound. */
  async addResource(id: string, resource: { type: string; id: string }, call?: Call): Promise<void> {
    await this.#scope.client(Leases).addResource({ id, resource }, this.#scope.options(call));
  }

  /** `sync` waits until what nothing else holds is gone. Errors: NotFound. */
  async remove(id: string, { sync = false, ...call }: Call & { sync?: boolean } = {}): Promise<void> {
    await this.#scope.client(Leases).delete({ id, sync }, this.#scope.options(call));
  }
}
