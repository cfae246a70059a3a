/** containerd.services.namespaces.v1. `filter` of List is ignored, as in containerd. */
import { parseNamespace } from '../base/identifiers.ts';
import type { NamespaceRecord, NamespaceStore } from '../core/namespaces/namespace-store.ts';
import { type Namespace, Namespaces } from '../wire/gen/containerd/services/namespaces/v1/namespace_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { lookup, maskPaths, required } from './convert.ts';

export interface NamespacesServiceDependencies {
  readonly namespaces: NamespaceStore;
}

const fromWire = (namespace: Namespace | undefined): NamespaceRecord => {
  const { name, labels } = required(namespace, 'namespace');
  return { name: parseNamespace(name), labels };
};

const toWire = ({ name, labels }: NamespaceRecord) => ({ name, labels: { ...labels } });

function isNamespace(name: string): boolean {
  try {
    return parseNamespace(name) === name;
  } catch {
    return false;
  }
}

export const namespacesService = ({ namespaces }: NamespacesServiceDependencies): ServedService =>
  serve(Namespaces, {
    get: async (ctx, { name }) => {
      // A namespace that is not there is no error, so neither is one that cannot be.
      if (!isNamespace(name)) return { namespace: { name } };
      return { namespace: toWire(await namespaces.get(ctx, parseNamespace(name))) };
    },
    list: async (ctx) => ({ namespaces: (await namespaces.list(ctx)).map(toWire) }),
    create: async (ctx, { namespace }) => {
      const given = fromWire(namespace);
      await namespaces.create(ctx, given);
      // As it came: labels without a value are told back though they are not kept.
      return { namespace: toWire(given) };
    },
    update: async (ctx, { namespace, updateMask }) => ({
      namespace: toWire(await namespaces.update(ctx, fromWire(namespace), maskPaths(updateMask))),
    }),
    delete: async (ctx, { name }) => {
      await namespaces.delete(ctx, lookup('namespace', parseNamespace, name));
      return {};
    },
  });
