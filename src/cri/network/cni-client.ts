/**
 * The operations of CNI on a network: its plugins one after the other, each with what those before it answered.
 *
 * Source: CNI specification 1.1, "Section 3: Execution of Network Configurations".
 */
import type { Context } from '../../base/context.ts';
import { unknown } from '../../base/errors.ts';
import { asObject, type JsonObject, member } from '../../oci/json.ts';
import type { CniPlugin } from '../cni-config.ts';
import type { CniPlugins, CniTarget } from './cni-plugin.ts';
import { hasCommand, isAtLeast, type NetworkPlan } from './cni-protocol.ts';
import { parseCniResult, resultAsVersion } from './cni-result.ts';

/** By the name of the capability; a plugin gets those that its configuration asks for. */
export type CniCapabilities = Readonly<Record<string, unknown>>;

export interface CniRequest {
  readonly plan: NetworkPlan;
  readonly target: CniTarget;
  readonly capabilities: CniCapabilities;
}

export interface CniClientDependencies {
  readonly plugins: Pick<CniPlugins, 'run' | 'find' | 'endLeft'>;
}

export class CniClient {
  readonly #plugins: CniClientDependencies['plugins'];

  constructor({ plugins }: CniClientDependencies) {
    this.#plugins = plugins;
  }

  /** Errors: NotFound when a plugin of the chain is not there. */
  async checkPlugins({ plugins }: NetworkPlan): Promise<void> {
    await Promise.all(plugins.map(async ({ type }) => this.#plugins.find(type)));
  }

  /**
   * The result of the last plugin. `keep` is told each one before the next plugin runs: what is needed to take back
   * what was done so far. A failure takes nothing back. Errors: as `CniPlugins.run`, Unknown for a result that is none.
   */
  async add(
    ctx: Context,
    { plan, target, capabilities }: CniRequest,
    keep: (result: JsonObject) => void,
  ): Promise<JsonObject> {
    let result: JsonObject | undefined;
    for (const plugin of plan.plugins) {
      const input = inputOf(plan, plugin, capabilities, result);
      const answer = await this.#plugins.run(ctx, 'ADD', plugin.type, input, target);
      result = checked(plan, plugin, answer);
      keep(result);
    }
    return result ?? {};
  }

  /** Before a `del` for a pod that another process connected: what that one started may still be adding. */
  async endLeft(ctx: Context, podId: string): Promise<void> {
    await this.#plugins.endLeft(ctx, podId);
  }

  /** Stops at the first plugin that fails, as the specification has it: asking again begins anew. */
  async del(
    ctx: Context,
    { plan, target, capabilities }: CniRequest,
    result: JsonObject | undefined,
  ): Promise<void> {
    const previous = isAtLeast(plan.version, '0.4.0') ? result : undefined;
    for (const plugin of plan.plugins.toReversed()) {
      const input = inputOf(plan, plugin, capabilities, previous);
      await this.#plugins.run(ctx, 'DEL', plugin.type, input, target);
    }
  }

  /** Nothing before 0.4.0 or where the configuration disables it. Errors: the first plugin that finds fault. */
  async check(
    ctx: Context,
    { plan, target, capabilities }: CniRequest,
    result: JsonObject | undefined,
  ): Promise<void> {
    if (!hasCommand(plan, 'CHECK') || plan.disableCheck) return;
    for (const plugin of plan.plugins) {
      const input = inputOf(plan, plugin, capabilities, result);
      await this.#plugins.run(ctx, 'CHECK', plugin.type, input, target);
    }
  }

  /** Nothing before 1.1.0. Errors: the first plugin that is not ready to add. */
  async status(ctx: Context, plan: NetworkPlan): Promise<void> {
    if (!hasCommand(plan, 'STATUS')) return;
    for (const plugin of plan.plugins)
      await this.#plugins.run(ctx, 'STATUS', plugin.type, inputOf(plan, plugin, {}, undefined));
  }

  /**
   * Plugins drop what belongs to no attachment of `valid`. Nothing before 1.1.0 or where the configuration disables
   * it. All are asked; errors: the first one.
   */
  async collect(
    ctx: Context,
    plan: NetworkPlan,
    valid: readonly { readonly podId: string; readonly ifName: string }[],
  ): Promise<void> {
    if (!hasCommand(plan, 'GC') || plan.disableGc) return;
    const attachments = valid.map(({ podId, ifName }) => ({ containerID: podId, ifname: ifName }));
    const failures: unknown[] = [];
    for (const plugin of plan.plugins) {
      const input = { ...inputOf(plan, plugin, {}, undefined), 'cni.dev/valid-attachments': attachments };
      try {
        await this.#plugins.run(ctx, 'GC', plugin.type, input);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

function inputOf(
  { name, version }: NetworkPlan,
  { document }: CniPlugin,
  capabilities: CniCapabilities,
  result: JsonObject | undefined,
): JsonObject {
  const wanted = asObject(member(document, 'capabilities') ?? {}, 'capabilities');
  const given = Object.entries(capabilities).filter(
    ([capability, value]) => member(wanted, capability) === true && value !== undefined,
  );
  return {
    // With `capabilities` too, against the specification: all runtimes leave it in, and plugins are used to it.
    ...document,
    name,
    cniVersion: version,
    ...(given.length > 0 && { runtimeConfig: Object.fromEntries(given) }),
    ...(result !== undefined && { prevResult: resultAsVersion(result, version) }),
  };
}

/** Of what a plugin answers only what can be read is passed on. */
function checked({ version }: NetworkPlan, { type }: CniPlugin, answer: JsonObject | undefined): JsonObject {
  const what = `plugin type=${JSON.stringify(type)} failed (add)`;
  if (answer === undefined) throw unknown(`${what}: it printed no result`);
  try {
    parseCniResult(answer);
    return resultAsVersion(answer, version);
  } catch (error) {
    throw unknown(`${what}: its result cannot be read: ${(error as Error).message}`, error);
  }
}
