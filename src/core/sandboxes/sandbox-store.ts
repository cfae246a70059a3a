/** Sandbox records: a shim that holds several containers. Implemented by core/metadata; no mutation emits an event. */
import type { AnyValue } from '../../base/any-value.ts';
import type { NamespacedContext } from '../../base/context.ts';
import type { SandboxId } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';

export interface Sandbox {
  readonly id: SandboxId;
  readonly runtime: { readonly name: string; readonly options: AnyValue | undefined };
  readonly spec: AnyValue | undefined;
  readonly labels: Labels;
  readonly extensions: Readonly<Record<string, AnyValue>>;
  /** Name of the controller that runs it. */
  readonly sandboxer: string;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
}

export type NewSandbox = Omit<Sandbox, 'createdAt' | 'updatedAt'>;

export interface SandboxStore {
  /** Errors: NotFound. */
  get(ctx: NamespacedContext, id: SandboxId): Promise<Sandbox>;
  /** Filters over id, labels.*. Errors: InvalidArgument. */
  list(ctx: NamespacedContext, filters: readonly string[]): Promise<Sandbox[]>;
  /** Errors: AlreadyExists, InvalidArgument. */
  create(ctx: NamespacedContext, sandbox: NewSandbox): Promise<Sandbox>;
  /** Mask paths: labels, labels.K, extensions, extensions.K, runtime, spec; none means these four whole. Errors: NotFound, InvalidArgument. */
  update(ctx: NamespacedContext, sandbox: NewSandbox, paths: readonly string[]): Promise<Sandbox>;
  /** Errors: NotFound. */
  delete(ctx: NamespacedContext, id: SandboxId): Promise<void>;
}
