/**
 * The containers that one shim process holds, of any number of namespaces. It stops when it was asked to, holds none
 * and its grace is over; until then it goes on, whatever becomes of the daemon.
 */
import { type Context, requireNamespace } from '../base/context.ts';
import { aborted, alreadyExists, notFound } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Platform } from '../platform/platform.ts';
import { adoptAll } from './adoption/adopt-all.ts';
import { type Allowance, ownAllowance } from './bundle/clamp.ts';
import type { EventPublisher } from './event-publisher.ts';
import type { HeldDirectory } from './held-directory.ts';
import type { Container, ContainerDependencies } from './process/container.ts';
import { type CreateRequest, createContainer } from './process/container-create.ts';
import { RootfsMounts } from './process/rootfs-mounts.ts';
import { Runc } from './runc/runc.ts';
import type { RuncSetup } from './runc/runc-arguments.ts';
import { ShimCalls } from './shim-calls.ts';

export interface ShimDependencies {
  readonly platform: Platform;
  readonly events: EventPublisher;
  readonly log: Logger;
  readonly held: HeldDirectory;
  /** Called once, when the shim has nothing left to do. */
  readonly onIdle: () => void;
}

export interface ShimOptions {
  /** Below it runc keeps its state; "" is containerd's own place. */
  readonly runcRoot: string;
  readonly graceMs: number;
  /** Of calls that carry none; "" refuses them. */
  readonly namespace: string;
}

/** A shim that nobody gave a container, because its starter died, goes by itself. */
const unusedMs = 60_000;

export class Shim {
  readonly options: ShimOptions;
  readonly allowance: Allowance;
  readonly calls = new ShimCalls();
  readonly #dependencies: ShimDependencies;
  readonly #containers = new Map<string, Container>();
  readonly #creating = new Set<string>();
  readonly #rootfs: RootfsMounts;
  readonly #clamped = new Set<string>();
  #stopping = false;
  #stopTimer: NodeJS.Timeout | undefined;

  constructor(dependencies: ShimDependencies, options: ShimOptions) {
    this.#dependencies = dependencies;
    this.options = options;
    this.#rootfs = new RootfsMounts(dependencies.platform);
    this.allowance = ownAllowance(dependencies.platform.processes);
    this.#stopAfter(unusedMs);
  }

  /** Errors: FailedPrecondition when neither the call nor the start named one. */
  namespaceOf(ctx: Context): string {
    return ctx.namespace ?? (this.options.namespace || requireNamespace(ctx).namespace);
  }

  /** Errors: NotFound. */
  get(namespace: string, id: string): Container {
    const container = this.#containers.get(`${namespace}/${id}`);
    if (container === undefined) throw notFound('container', id);
    return container;
  }

  /** Every container that it holds. */
  get containers(): readonly Container[] {
    return [...this.#containers.values()];
  }

  /** Takes over what the shim before this one held. To be called once, before anything is served. */
  async adopt(): Promise<void> {
    const { platform, held, log } = this.#dependencies;
    const adopted = await adoptAll({
      held,
      log,
      mounts: platform.mounts,
      processes: platform.processes,
      dependenciesOf: ({ namespace, options }) => this.#dependenciesOf(namespace, options.runc),
    });
    for (const container of adopted)
      this.#containers.set(`${container.namespace}/${container.id}`, container);
  }

  /** Errors: AlreadyExists; Aborted when the shim is ending; as createContainer. */
  async create(request: CreateRequest): Promise<Container> {
    if (this.#stopping) throw aborted('the shim is ending: it was asked to, and held nothing');
    const key = `${request.namespace}/${request.id}`;
    if (this.#containers.has(key) || this.#creating.has(key)) throw alreadyExists('container', request.id);
    this.#creating.add(key);
    clearTimeout(this.#stopTimer);
    const { held } = this.#dependencies;
    const owner = {};
    const letGo = (): void => held.letGo(request, owner);
    try {
      held.hold(request, owner);
      const container = await createContainer(
        {
          ...this.#dependenciesOf(request.namespace, request.options.runc),
          allowance: this.allowance,
          noteClamped: (notes, id) => this.noteClamped(notes, id),
        },
        { ...request, heldIn: held.path, letGo },
      );
      this.#containers.set(key, container);
      return container;
    } catch (error) {
      letGo();
      throw error;
    } finally {
      this.#creating.delete(key);
      // The one that failed was perhaps the only one, and its starter perhaps died of it.
      if (this.#isEmpty()) this.#stopAfter(unusedMs);
    }
  }

  remove(container: Container): void {
    this.#containers.delete(`${container.namespace}/${container.id}`);
  }

  /** Stops the process once it is empty and its grace is over, `now` without it. Does nothing while it holds containers. */
  shutdown({ now }: { now: boolean } = { now: false }): void {
    // At once means before the answer: no create that comes after it may find the shim still willing.
    if (now) this.#stop();
    else if (this.#isEmpty()) this.#stopAfter(this.options.graceMs);
  }

  noteClamped(notes: readonly string[], id: string): void {
    for (const note of notes) {
      if (this.#clamped.has(note)) continue;
      this.#clamped.add(note);
      this.#dependencies.log.warn(
        { id, change: note },
        'this machine does not grant what the container asks for',
      );
    }
  }

  #dependenciesOf(namespace: string, setup: RuncSetup): ContainerDependencies {
    const { platform, events, log } = this.#dependencies;
    const runc = new Runc(platform, setup);
    return { platform, events, rootfs: this.#rootfs, log: log.child({ namespace }), runc };
  }

  #isEmpty(): boolean {
    return this.#containers.size === 0 && this.#creating.size === 0;
  }

  #stopAfter(delayMs: number): void {
    clearTimeout(this.#stopTimer);
    this.#stopTimer = setTimeout(() => this.#stop(), delayMs);
  }

  #stop(): void {
    if (this.#stopping || !this.#isEmpty()) return;
    this.#stopping = true;
    this.#dependencies.onIdle();
  }
}
