/**
 * The network of pods: eth0, and eth1, … for further configurations, from the plugins that the directory names.
 *
 * Whatever a plugin may have done stands in the attachment store before it runs, and is taken back with the
 * configuration of that time: by `tearDown`, by a `setUp` that fails, or by `collect` when the daemon was killed.
 * Operations on one pod wait for each other.
 *
 * Differs from containerd: a failed `setUp` takes back what it did itself, after a restart plugins get the results of
 * before, and what no pod holds is collected.
 */
import { type Context, forCleanup } from '../../base/context.ts';
import { failedPrecondition, unknown, wrap } from '../../base/errors.ts';
import type { SandboxId } from '../../base/identifiers.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import type { Platform } from '../../platform/platform.ts';
import type { Attachment, AttachmentStore } from './attachment-store.ts';
import type { CniClient } from './cni-client.ts';
import { type NetworkPlan, planNetwork } from './cni-protocol.ts';
import { type CniResult, parseCniResult } from './cni-result.ts';
import type { NetworkDirectory } from './network-directory.ts';
import { capabilitiesOf, type PodCapabilities } from './pod-capabilities.ts';
import { type IpPreference, podIps } from './pod-ips.ts';

export interface PodToConnect extends PodCapabilities {
  readonly id: SandboxId;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** Runtime handler, whose directory of configurations counts; "" for the default one. */
  readonly handler: string;
  /** Path of its network namespace, which is there. */
  readonly netns: string;
}

export interface PodNetworkResult {
  readonly ip: string;
  readonly additionalIps: readonly string[];
  /** By the name of the interface, in order. */
  readonly results: readonly {
    readonly ifName: string;
    readonly network: string;
    readonly result: CniResult;
  }[];
}

export type NetworkReadiness =
  | { readonly ready: true }
  | { readonly ready: false; readonly reason: 'NetworkPluginNotReady'; readonly message: string };

export interface PodNetworkDependencies {
  readonly client: CniClient;
  readonly attachments: AttachmentStore;
  readonly namespaces: Platform['namespaces'];
  /** By runtime handler; that of "" is for handlers without one. */
  readonly directories: ReadonlyMap<string, NetworkDirectory>;
}

export interface PodNetworkOptions {
  /** The networks of a pod one after the other. */
  readonly setupSerially: boolean;
  readonly ipPreference: IpPreference;
  /** The loopback interface is brought up by us and not by the plugin of that name. */
  readonly internalLoopback: boolean;
}

export interface CollectedAttachments {
  readonly released: readonly { readonly podId: string; readonly ifName: string }[];
  readonly failures: readonly { readonly what: string; readonly error: unknown }[];
}

const loopback = planNetwork({
  name: 'cni-loopback',
  cniVersion: '0.3.1',
  plugins: [{ type: 'loopback', document: { type: 'loopback' } }],
  document: { name: 'cni-loopback', cniVersion: '0.3.1', plugins: [{ type: 'loopback' }] },
});

export class PodNetwork {
  readonly #client: CniClient;
  readonly #attachments: AttachmentStore;
  readonly #namespaces: Platform['namespaces'];
  readonly #directories: PodNetworkDependencies['directories'];
  readonly #options: PodNetworkOptions;
  readonly #pods = new KeyedLock();
  /** Pods for which no plugin runs but those that this process started and waits for. */
  readonly #ours = new Set<string>();

  constructor(dependencies: PodNetworkDependencies, options: PodNetworkOptions) {
    this.#client = dependencies.client;
    this.#attachments = dependencies.attachments;
    this.#namespaces = dependencies.namespaces;
    this.#directories = dependencies.directories;
    this.#options = options;
  }

  /**
   * Connects the pod. When it resolves, what is known of it survives a power cut. On failure what was done is taken
   * back; what cannot be stays known, and `tearDown` tries again. Errors: FailedPrecondition (no configuration,
   * connected already), InvalidArgument, and those of the plugins.
   */
  async setUp(ctx: Context, pod: PodToConnect): Promise<PodNetworkResult> {
    using _ = await this.#pods.acquire(pod.id, ctx);
    if (this.#attachments.of(pod.id).length > 0)
      throw failedPrecondition(`pod ${pod.id} has a network: take it down first`);
    const plans = await this.#plansOf(pod.handler);
    // One that is not there could take nothing back either.
    await Promise.all(plans.map(async (plan) => this.#client.checkPlugins(plan)));
    const attachments = plans.map((plan, index) => attachmentOf(pod, plan, `eth${index}`));
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.#undo(ctx, pod.id));
    this.#ours.add(pod.id);
    for (const attachment of attachments) this.#attachments.save(attachment, { durable: true });
    const added = await this.#inTurn([
      async () => this.#raiseLoopback(ctx, pod),
      ...attachments.map((attachment) => async () => this.#add(ctx, attachment)),
    ]);
    const result = resultOf(
      added.filter((one) => one !== undefined),
      this.#options.ipPreference,
    );
    undo.move();
    return result;
  }

  /** Disconnects the pod; one that has no network is fine. Errors: of the plugins; what failed is tried again next time. */
  async tearDown(ctx: Context, podId: SandboxId): Promise<void> {
    using _ = await this.#pods.acquire(podId, ctx);
    await this.#release(ctx, podId);
  }

  /** Asks the plugins whether all is as they left it. Errors: of the first one that finds fault. */
  async check(ctx: Context, podId: SandboxId): Promise<void> {
    using _ = await this.#pods.acquire(podId, ctx);
    const attachments = this.#attachments.of(podId);
    await this.#inTurn(
      attachments.map((attachment) => async () => this.#client.check(ctx, attachment, attachment.result)),
    );
  }

  /**
   * Whether pods of the handler can be connected: there are configurations, and their plugins (1.1) are ready. The
   * message is containerd's, with the reason after it.
   */
  async status(ctx: Context, handler: string): Promise<NetworkReadiness> {
    try {
      const plans = await this.#plansOf(handler);
      await Promise.all(plans.map(async (plan) => this.#client.status(ctx, plan)));
      return { ready: true };
    } catch (error) {
      const message = `Network plugin returns error: ${(error as Error).message}`;
      return { ready: false, reason: 'NetworkPluginNotReady', message };
    }
  }

  /**
   * Takes back what no pod holds, then lets plugins (1.1) do so with what they know of. A pod that is being set up
   * must be held. What fails is told and stays for the next time.
   */
  async collect(ctx: Context, isHeld: (podId: string) => boolean): Promise<CollectedAttachments> {
    const { attachments, damaged } = this.#attachments.all();
    const released: { podId: string; ifName: string }[] = [];
    const failures: { what: string; error: unknown }[] = damaged.map(({ file, error }) => ({
      what: file,
      error,
    }));
    for (const attachment of attachments) {
      const { podId, ifName, netns } = attachment.target;
      if (isHeld(podId)) continue;
      try {
        using _ = await this.#pods.acquire(podId, ctx);
        await this.#endLeft(ctx, podId);
        await this.#del(ctx, attachment);
        this.#namespaces.unpin(netns);
        this.#ours.delete(podId);
        released.push({ podId, ifName });
      } catch (error) {
        failures.push({ what: `${ifName} of pod ${podId}`, error });
      }
    }
    failures.push(...(await this.#collectByPlugins(ctx)));
    return { released, failures };
  }

  async #collectByPlugins(ctx: Context): Promise<CollectedAttachments['failures']> {
    const { attachments, damaged } = this.#attachments.all();
    // Plugins would drop what those stand for.
    if (damaged.length > 0) return [];
    const failures: { what: string; error: unknown }[] = [];
    const plans = new Map<string, NetworkPlan>();
    for (const directory of this.#directories.values()) {
      if ((await directory.failure()) !== undefined) continue;
      for (const plan of await directory.plans()) plans.set(plan.name, plan);
    }
    for (const plan of plans.values()) {
      const valid = attachments.filter((one) => one.plan.name === plan.name).map(({ target }) => target);
      try {
        await this.#client.collect(ctx, plan, valid);
      } catch (error) {
        failures.push({ what: `network ${plan.name}`, error });
      }
    }
    return failures;
  }

  async #plansOf(handler: string): Promise<readonly NetworkPlan[]> {
    const directory = this.#directories.get(handler) ?? this.#directories.get('');
    if (directory === undefined) throw failedPrecondition('cni plugin not initialized');
    try {
      return await directory.plans();
    } catch (error) {
      throw wrap('cni plugin not initialized', error);
    }
  }

  /** All end before this does, so that nothing goes on behind its back. Errors: the first one. */
  async #inTurn<Result>(steps: readonly (() => Promise<Result>)[]): Promise<Result[]> {
    const results: Result[] = [];
    if (this.#options.setupSerially) {
      for (const step of steps) results.push(await step());
      return results;
    }
    for (const outcome of await Promise.allSettled(steps.map(async (step) => step()))) {
      if (outcome.status === 'rejected') throw outcome.reason;
      results.push(outcome.value);
    }
    return results;
  }

  /** Nothing to take back: it goes with the namespace. */
  async #raiseLoopback(ctx: Context, pod: PodToConnect): Promise<undefined> {
    if (this.#options.internalLoopback) this.#namespaces.raiseLoopback(pod.netns);
    else await this.#client.add(ctx, attachmentOf(pod, loopback, 'lo'), () => {});
  }

  async #add(ctx: Context, attachment: Attachment): Promise<Attachment> {
    const { plugins } = attachment.plan;
    let answers = 0;
    const result = await this.#client.add(ctx, attachment, (answer) => {
      answers += 1;
      this.#attachments.save({ ...attachment, result: answer }, { durable: answers === plugins.length });
    });
    return { ...attachment, result };
  }

  /** What fails here is known still, and the failure that led here is what the caller must hear. */
  async #undo(ctx: Context, podId: SandboxId): Promise<void> {
    try {
      await this.#release(forCleanup(ctx, limits.cniUndoMs), podId);
    } catch (error) {
      ctx.log.warn({ pod: podId, error }, 'network of a pod that failed to start is left for later');
    }
  }

  /** All are tried, the last first. Errors: the first one. */
  async #release(ctx: Context, podId: SandboxId): Promise<void> {
    const failures: unknown[] = [];
    const attachments = this.#attachments.of(podId);
    if (attachments.length > 0) await this.#endLeft(ctx, podId);
    for (const attachment of attachments.toReversed())
      try {
        await this.#del(ctx, attachment);
      } catch (error) {
        failures.push(error);
      }
    if (failures.length > 0) throw failures[0];
    this.#ours.delete(podId);
  }

  async #endLeft(ctx: Context, podId: string): Promise<void> {
    if (this.#ours.has(podId)) return;
    await this.#client.endLeft(ctx, podId);
    this.#ours.add(podId);
  }

  async #del(ctx: Context, attachment: Attachment): Promise<void> {
    const { target } = attachment;
    const netns = this.#namespaces.isPinned(target.netns) ? target.netns : '';
    try {
      await this.#client.del(ctx, { ...attachment, target: { ...target, netns } }, attachment.result);
    } catch (error) {
      throw wrap(
        `disconnect ${target.ifName} of pod ${target.podId} from network ${attachment.plan.name}`,
        error,
      );
    }
    this.#attachments.remove(attachment);
  }
}

const attachmentOf = (pod: PodToConnect, plan: NetworkPlan, ifName: string): Attachment => ({
  plan,
  target: {
    podId: pod.id,
    netns: pod.netns,
    ifName,
    args: [
      ['IgnoreUnknown', '1'],
      ['K8S_POD_NAMESPACE', pod.namespace],
      ['K8S_POD_NAME', pod.name],
      ['K8S_POD_INFRA_CONTAINER_ID', pod.id],
      ['K8S_POD_UID', pod.uid],
    ],
  },
  capabilities: capabilitiesOf(pod),
  result: undefined,
});

function resultOf(added: readonly Attachment[], preference: IpPreference): PodNetworkResult {
  const results = added.map(({ plan, target, result }) => ({
    ifName: target.ifName,
    network: plan.name,
    result: parseCniResult(result ?? {}),
  }));
  const [first] = results;
  const [ip, ...additionalIps] = first === undefined ? [] : podIps(first.result, first.ifName, preference);
  if (ip === undefined) throw unknown(`network ${first?.network ?? ''} gave the pod no address on eth0`);
  return { ip, additionalIps, results };
}
