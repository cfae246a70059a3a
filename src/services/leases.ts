/** containerd.services.leases.v1 */
import { requireNamespace } from '../base/context.ts';
import { parseLeaseId } from '../base/identifiers.ts';
import type { Lease, LeaseManager, LeaseResource } from '../core/leases/lease-manager.ts';
import { Leases, type Resource } from '../wire/gen/containerd/services/leases/v1/leases_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';
import { lookup, required } from './convert.ts';

export interface LeasesServiceDependencies {
  readonly leases: LeaseManager;
}

const toWire = (lease: Lease) => ({
  id: lease.id,
  createdAt: timestampOf(lease.createdAt),
  labels: { ...lease.labels },
});

function resourceFromWire(resource: Resource | undefined): LeaseResource {
  const { type, id } = required(resource, 'resource');
  return { type, id };
}

export const leasesService = ({ leases }: LeasesServiceDependencies): ServedService =>
  serve(Leases, {
    create: async (ctx, { id, labels }) => ({
      lease: toWire(
        await leases.create(requireNamespace(ctx), {
          labels,
          ...(id !== '' && { id: parseLeaseId(id) }),
        }),
      ),
    }),
    delete: async (ctx, { id, sync }) => {
      await leases.delete(requireNamespace(ctx), lookup('lease', parseLeaseId, id), { sync });
      return {};
    },
    list: async (ctx, { filters }) => ({
      leases: (await leases.list(requireNamespace(ctx), filters)).map(toWire),
    }),
    addResource: async (ctx, { id, resource }) => {
      await leases.addResource(
        requireNamespace(ctx),
        lookup('lease', parseLeaseId, id),
        resourceFromWire(resource),
      );
      return {};
    },
    deleteResource: async (ctx, { id, resource }) => {
      await leases.deleteResource(
        requireNamespace(ctx),
        lookup('lease', parseLeaseId, id),
        resourceFromWire(resource),
      );
      return {};
    },
    listResources: async (ctx, { id }) => ({
      resources: (await leases.listResources(requireNamespace(ctx), lookup('lease', parseLeaseId, id))).map(
        (resource) => ({
          ...resource,
        }),
      ),
    }),
  });
