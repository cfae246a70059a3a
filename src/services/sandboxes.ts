/** containerd.services.sandbox.v1.Store */
import { create } from '@bufbuild/protobuf';
import { requireNamespace } from '../base/context.ts';
import { wrap } from '../base/errors.ts';
import { parseSandboxId, type SandboxId } from '../base/identifiers.ts';
import type { NewSandbox, Sandbox, SandboxStore } from '../core/sandboxes/sandbox-store.ts';
import { anyFromWire } from '../wire/any.ts';
import { Store } from '../wire/gen/containerd/services/sandbox/v1/sandbox_pb.js';
import { SandboxSchema, type Sandbox as WireSandbox } from '../wire/gen/containerd/types/sandbox_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';
import { anyMapToWire, lookup, optionalAny, required } from './convert.ts';

export interface SandboxesServiceDependencies {
  readonly sandboxes: SandboxStore;
}

/** With the words before the reason that containerd's clients show. */
function checkedId(id: string): SandboxId {
  try {
    return parseSandboxId(id);
  } catch (error) {
    throw wrap('failed to validate sandbox: invalid sandbox ID', error);
  }
}

function fromWire(sandbox: WireSandbox | undefined): NewSandbox {
  const given = required(sandbox, 'sandbox');
  return {
    id: checkedId(given.sandboxId),
    runtime: { name: given.runtime?.name ?? '', options: anyFromWire(given.runtime?.options) },
    spec: anyFromWire(given.spec),
    labels: given.labels,
    extensions: Object.fromEntries(
      Object.entries(given.extensions).map(([name, { typeUrl, value }]) => [name, { typeUrl, value }]),
    ),
    sandboxer: given.sandboxer,
  };
}

const toWire = (sandbox: Sandbox): WireSandbox =>
  create(SandboxSchema, {
    sandboxId: sandbox.id,
    runtime: { name: sandbox.runtime.name, ...optionalAny('options', sandbox.runtime.options) },
    ...optionalAny('spec', sandbox.spec),
    labels: { ...sandbox.labels },
    createdAt: timestampOf(sandbox.createdAt),
    updatedAt: timestampOf(sandbox.updatedAt),
    extensions: anyMapToWire(sandbox.extensions),
    sandboxer: sandbox.sandboxer,
  });

export const sandboxesService = ({ sandboxes }: SandboxesServiceDependencies): ServedService =>
  serve(Store, {
    create: async (ctx, { sandbox }) => ({
      sandbox: toWire(await sandboxes.create(requireNamespace(ctx), fromWire(sandbox))),
    }),
    update: async (ctx, { sandbox, fields }) => ({
      sandbox: toWire(await sandboxes.update(requireNamespace(ctx), fromWire(sandbox), fields)),
    }),
    delete: async (ctx, { sandboxId }) => {
      await sandboxes.delete(requireNamespace(ctx), lookup('sandbox', parseSandboxId, sandboxId));
      return {};
    },
    list: async (ctx, { filters }) => ({
      list: (await sandboxes.list(requireNamespace(ctx), filters)).map(toWire),
    }),
    get: async (ctx, { sandboxId }) => ({
      sandbox: toWire(
        await sandboxes.get(requireNamespace(ctx), lookup('sandbox', parseSandboxId, sandboxId)),
      ),
    }),
  });
