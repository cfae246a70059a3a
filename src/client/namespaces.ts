/** Namespaces: they come into being on first use, and carry defaults as labels. */
import type { Labels } from '../base/labels.ts';
import { Namespaces } from '../wire/gen/containerd/services/namespaces/v1/namespace_pb.js';
import type { Call, Scope } from './scope.ts';

export interface NamespaceInfo {
  readonly name: string;
  readonly labels: Labels;
}

export class NamespacesClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  async list(call?: Call): Promise<NamespaceInfo[]> {
    const { namespaces } = await this.#scope.client(Namespaces).list({}, this.#scope.options(call));
    return namespaces.map(({ name, labels }) => ({ name, labels }));
  }

  /** Labels of a namespace; none when it does not exist, which is no error. */
  async labels(name: string, call?: Call): Promise<Labels> {
    const { namespace } = await this.#scope.client(Namespaces).get({ name }, this.#scope.options(call));
    return namespace?.labels ?? {};
  }

  /** Errors: AlreadyExists, InvalidArgument. */
  async create(name: string, labels: Labels = {}, call?: Call): Promise<void> {
    await this.#scope
      .client(Namespaces)
      .create({ namespace: { name, labels: { ...labels } } }, this.#scope.options(call));
  }

  /** Errors: NotFound; FailedPrecondition naming what is left in it. */
  async remove(name: string, call?: Call): Promise<void> {
    await this.#scope.client(Namespaces).delete({ name }, this.#scope.options(call));
  }
}
