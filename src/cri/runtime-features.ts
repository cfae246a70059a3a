/**
 * What runtime handlers can do, as their runtimes say (OCI runtime specification, "Features Structure"), and what the
 * kernel adds. Asking starts a process, so each handler is asked once; one that fails is asked again after a while.
 */
import { type Context, forCleanup } from '../base/context.ts';
import { limits } from '../base/limits.ts';
import type { JsonObject } from '../oci/json.ts';
import type { RuntimeHandler } from './settings.ts';

export interface HandlerFeatures {
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

export interface RuntimeFeaturesDependencies {
  /** The features document of a handler's runtime; undefined when it has none to tell. */
  readonly ask: (ctx: Context, handler: RuntimeHandler) => Promise<JsonObject | undefined>;
  /** As uname(2) has it: "6.18.5". */
  readonly kernelRelease: string;
}

const none: HandlerFeatures = { recursiveReadOnlyMounts: false, userNamespaces: false };

export interface RuntimeFeaturesOptions {
  /** Before a runtime that could not be asked is asked again: the kubelet comes every few seconds. */
  readonly retryMs: number;
}

interface Asked {
  readonly features: Promise<HandlerFeatures>;
  failedAtMs: number | undefined;
}

export class RuntimeFeatures {
  readonly #deps: RuntimeFeaturesDependencies;
  readonly #options: RuntimeFeaturesOptions;
  readonly #asked = new Map<string, Asked>();

  constructor(dependencies: RuntimeFeaturesDependencies, options: RuntimeFeaturesOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** None of a runtime that cannot be asked, which is logged: the handler may work all the same. */
  async of(ctx: Context, handler: RuntimeHandler): Promise<HandlerFeatures> {
    const known = this.#asked.get(handler.name);
    if (known !== undefined && !this.#isStale(known)) return known.features;
    const asked: Asked = {
      features: this.#askQuietly(ctx, handler, () => {
        asked.failedAtMs = performance.now();
      }),
      failedAtMs: undefined,
    };
    this.#asked.set(handler.name, asked);
    return asked.features;
  }

  #isStale({ failedAtMs }: Asked): boolean {
    return failedAtMs !== undefined && performance.now() - failedAtMs >= this.#options.retryMs;
  }

  /** Others wait for the answer too, so it does not go with the caller. */
  async #askQuietly(ctx: Context, handler: RuntimeHandler, onFailure: () => void): Promise<HandlerFeatures> {
    try {
      return await this.#ask(forCleanup(ctx, limits.runtimeInfoMs), handler);
    } catch (error) {
      onFailure();
      ctx.log.warn({ handler: handler.name, error: String(error) }, 'runtime does not say what it can do');
      return none;
    }
  }

  async #ask(ctx: Context, handler: RuntimeHandler): Promise<HandlerFeatures> {
    const features = await this.#deps.ask(ctx, handler);
    if (features === undefined) return none;
    const options = features['mountOptions'];
    return {
      recursiveReadOnlyMounts:
        Array.isArray(options) && options.includes('rro') && hasMountSetattr(this.#deps.kernelRelease),
      userNamespaces: at(features, ['linux', 'mountExtensions', 'idmap', 'enabled']) === true,
    };
  }
}

/** mount_setattr(2) came with Linux 5.12. */
function hasMountSetattr(release: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  return major > 5 || (major === 5 && minor >= 12);
}

function at(object: JsonObject, path: readonly string[]): unknown {
  let value: unknown = object;
  for (const key of path)
    value =
      typeof value === 'object' && value !== null && Object.hasOwn(value, key)
        ? (value as JsonObject)[key]
        : undefined;
  return value;
}
