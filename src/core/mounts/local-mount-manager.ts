/**
 * The mount manager over this machine: rows in the metadata database, mounts below the state directory.
 *
 * Safe against kill -9 at any line: the row comes first and says that it is being activated; `recover` takes such rows
 * away, those of an earlier boot and those whose mounts are gone, and then whatever is mounted without a row.
 */
import { mkdirSync } from 'node:fs';
import { type Context, checkSignal, type NamespacedContext } from '../../base/context.ts';
import { invalidArgument, unimplemented, wrap } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { mountAll } from '../../platform/temp-mount.ts';
import type { Collectible, CollectibleObject } from '../gc/collectible.ts';
import type { MetadataMountStore } from '../metadata/mounts.ts';
import { formatMount } from './format.ts';
import { makeDirectories } from './mkdir.ts';
import { makeFileSystem } from './mkfs.ts';
import { type MountHandler, mountHandlers } from './mount-handlers.ts';
import type { ActivateRequest, Activation, ActiveMount, MountManager } from './mount-manager.ts';
import { MountPlaces } from './mount-places.ts';
import { splitType, type TransformedType, type Transformers } from './transform.ts';

export interface MountManagerDependencies {
  readonly store: MetadataMountStore;
  readonly platform: Pick<Platform, 'name' | 'mounts' | 'loops' | 'processes'>;
}

export interface MountManagerOptions {
  /** For mounts, made when absent; nobody else's. */
  readonly placesDir: string;
  /** Below these, transformers may make files and directories for clients. Real paths. */
  readonly allowedRoots: readonly string[];
  /** The machine's start: mounts of an earlier one are gone. */
  readonly boot: string;
}

/** What becomes of one mount of a list. */
interface Step extends TransformedType {
  readonly mount: Mount;
  readonly handler: MountHandler | undefined;
}

export class LocalMountManager implements MountManager, Collectible {
  readonly kind = 'mount';
  readonly removal: Collectible['removal'] & object;
  readonly #store: MetadataMountStore;
  readonly #platform: MountManagerDependencies['platform'];
  readonly #places: MountPlaces;
  readonly #boot: string;
  readonly #handlers: ReadonlyMap<string, MountHandler>;
  readonly #transformers: Transformers;
  readonly #names = new KeyedLock();
  /** Numbers whose directory is being made or taken away. */
  readonly #busy = new Set<number>();

  constructor(
    { store, platform }: MountManagerDependencies,
    { placesDir, allowedRoots, boot }: MountManagerOptions,
  ) {
    this.#store = store;
    this.removal = store.removal;
    this.#platform = platform;
    this.#places = new MountPlaces(platform, { root: placesDir });
    this.#boot = boot;
    this.#handlers = mountHandlers(platform);
    const roots = [...allowedRoots, placesDir];
    this.#transformers = new Map([
      ['format', formatMount],
      ['mkfs', makeFileSystem(platform, roots)],
      ['mkdir', makeDirectories(roots)],
    ]);
  }

  /** Before anybody is served. */
  async recover(ctx: Context): Promise<void> {
    for (const record of this.#store.records()) {
      const stands =
        record.isComplete &&
        record.boot === this.#boot &&
        record.activation.active.every(({ mountPoint }) => this.#places.isMounted(mountPoint));
      if (stands) continue;
      ctx.log.warn(
        { namespace: record.namespace, name: record.name },
        'an activation did not come to its end, or its mounts are gone: it is taken away',
      );
      await this.#store.forget(record.number);
    }
    await this.free(ctx);
  }

  async activate(ctx: NamespacedContext, request: ActivateRequest): Promise<Activation> {
    const steps = this.#plan(request);
    const mountedCount = countToMount(steps, request);
    if (mountedCount === undefined)
      throw unimplemented('nothing in the list of mounts needs the mount manager: mount it as it is');
    using _name = await this.#names.acquire(`${ctx.namespace} ${request.name}`, ctx);
    await using undo = new AsyncDisposableStack();
    const number = await this.#store.begin(ctx, request.name, request.labels, this.#boot);
    this.#busy.add(number);
    using _busy = { [Symbol.dispose]: () => void this.#busy.delete(number) };
    undo.defer(async () => {
      // The directory first: without a row it would be there for the next collection only.
      this.#places.remove(number);
      await this.#store.forget(number);
    });
    const active: ActiveMount[] = [];
    for (const [index, step] of steps.slice(0, mountedCount).entries()) {
      checkSignal(ctx.signal);
      const mount = await transformed(step, active, ctx);
      const mountPoint = this.#places.make(number, index);
      try {
        this.#mount(step, mount, mountPoint);
      } catch (error) {
        throw wrap(`mount ${index} (${mount.type}) of ${JSON.stringify(request.name)}`, error);
      }
      active.push({ mount, mountedAt: now(), mountPoint });
    }
    const system = await systemMounts(steps.slice(mountedCount), active, ctx);
    const last = active.at(-1);
    if (request.temporary && last !== undefined)
      system.push({ type: 'bind', source: last.mountPoint, target: '', options: ['rbind'] });
    await this.#store.complete(number, active, system);
    undo.move();
    return { name: request.name, active, system, labels: request.labels };
  }

  async deactivate(ctx: NamespacedContext, name: string): Promise<void> {
    using _name = await this.#names.acquire(`${ctx.namespace} ${name}`, ctx);
    const { number } = await this.#store.remove(ctx, name);
    this.#places.remove(number);
  }

  async info(ctx: NamespacedContext, name: string): Promise<Activation> {
    return this.#store.get(ctx, name);
  }

  async *list(ctx: NamespacedContext, filters: readonly string[]): AsyncGenerator<Activation> {
    yield* this.#store.list(ctx, filters);
  }

  objects(): readonly CollectibleObject[] {
    return this.#store.objects();
  }

  /** Whatever has no row is unmounted; what is in use stays until the next collection. */
  async free(ctx: Context): Promise<void> {
    const known = new Set(this.#store.records().map(({ number }) => number));
    for (const number of this.#places.numbers()) {
      if (known.has(number) || this.#busy.has(number)) continue;
      try {
        this.#places.remove(number);
      } catch (error) {
        ctx.log.warn(
          { err: error, number },
          'cannot unmount what nobody needs: the next collection tries again',
        );
      }
    }
  }

  /** Errors: InvalidArgument. */
  #plan({ name, mounts }: ActivateRequest): Step[] {
    checkText('mount name', name);
    if (mounts.length > limits.activationMounts)
      throw invalidArgument(`too many mounts (${mounts.length}): maximum ${limits.activationMounts}`);
    return mounts.map((mount) => {
      for (const text of [mount.type, mount.source, mount.target, ...mount.options])
        if (text !== '') checkText('mount', text);
      const { transforms, type } = splitType(mount.type, this.#transformers);
      return { mount, transforms, type, handler: this.#handlers.get(type) };
    });
  }

  #mount({ handler }: Step, mount: Mount, place: string): void {
    if (handler === undefined || handler.wantsDirectory)
      withNodeErrors(() => mkdirSync(place, { mode: 0o700 }));
    if (handler === undefined || mount.target !== '') mountAll(this.#platform, [mount], place);
    else handler.mount(mount, place);
  }
}

/** How many, from the first on, are mounted here; undefined when none needs it. */
function countToMount(steps: readonly Step[], { temporary }: ActivateRequest): number | undefined {
  if (temporary) return steps.length === 0 ? undefined : steps.length;
  const handled = steps.findLastIndex(({ handler }) => handler !== undefined) + 1;
  const changed = steps.findLastIndex(({ transforms }) => transforms.length > 0);
  return handled === 0 && changed < 0 ? undefined : Math.max(handled, changed);
}

async function transformed(
  { mount, transforms, type }: Step,
  active: readonly ActiveMount[],
  { signal }: Context,
): Promise<Mount> {
  let result: Mount = { ...mount, type };
  for (const transform of transforms) result = await transform(result, active, { signal });
  return result;
}

/** Only the first can have transformers: what comes before the last of those is mounted. */
async function systemMounts(
  steps: readonly Step[],
  active: readonly ActiveMount[],
  ctx: Context,
): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for (const step of steps) mounts.push(await transformed(step, active, ctx));
  return mounts;
}

/** Errors: InvalidArgument. */
function checkText(what: string, text: string): void {
  if (text === '' || text.includes('\0') || Buffer.byteLength(text) > limits.mountTextBytes)
    throw invalidArgument(`${what} must have 1 to ${limits.mountTextBytes} bytes, none of them NUL`);
}
