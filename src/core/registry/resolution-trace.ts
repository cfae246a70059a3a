/**
 * What was decided on the way to a registry's answer, as data: which configuration was read, which hosts were asked and
 * why, with which kind of credentials, and what each said. Holds no secrets, so it can be shown, logged and attached
 * to errors.
 */
import { limits } from '../../base/limits.ts';
import type { Credentials } from '../transfer/transfer.ts';
import type { HostPlan, RegistryHost } from './hosts.ts';

export interface TracedHost {
  readonly url: string;
  readonly capabilities: readonly string[];
  readonly isMirror: boolean;
  readonly reason: string;
}

/** One exchange, or the reason why there was none. */
export interface TraceStep {
  readonly operation: 'resolve' | 'fetch' | 'push' | 'token';
  readonly method: string;
  /** Redacted. */
  readonly url: string;
  readonly credentials: Credentials['kind'] | 'token' | 'unasked';
  /** Absent when no answer came. */
  readonly status?: number;
  /** What it led to, in words: "manifest sha256:…", "not found", the message of an error. */
  readonly outcome: string;
}

export interface ResolutionTraceData {
  readonly reference: string;
  readonly configuration: string | undefined;
  readonly absentDirectories: readonly string[];
  readonly warnings: readonly string[];
  readonly hosts: readonly TracedHost[];
  readonly steps: readonly TraceStep[];
}

export class ResolutionTrace {
  readonly #reference: string;
  readonly #steps: TraceStep[] = [];
  #plan: HostPlan | undefined;

  constructor(reference: string) {
    this.#reference = reference;
  }

  setPlan(plan: HostPlan): void {
    this.#plan = plan;
  }

  add(step: TraceStep): void {
    if (this.#steps.length < limits.tracedSteps) this.#steps.push(step);
  }

  data(): ResolutionTraceData {
    return {
      reference: this.#reference,
      configuration: this.#plan?.source,
      absentDirectories: this.#plan?.absent ?? [],
      warnings: this.#plan?.warnings ?? [],
      hosts: (this.#plan?.hosts ?? []).map(tracedHost),
      steps: [...this.#steps],
    };
  }
}

const tracedHost = (host: RegistryHost): TracedHost => ({
  url: `${host.origin.origin}${host.path}`,
  capabilities: host.capabilities,
  isMirror: host.isMirror,
  reason: host.reason,
});
